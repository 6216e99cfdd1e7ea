"""What the page on the admin address is made from: by a process that serves alone, or by a supervisor.

A supervisor has no key, and asks a worker for what the policy and the keyring say. Both make the admin server
here, with the page or without.
"""

from collections.abc import Callable
from typing import Protocol, final

from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.admin import AdminServer
from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.health import HealthView
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.page.door import PageDoor, PageFeed, Token, known_hosts
from sealwire.proxy.server.page.facts import PageFacts, facts_of
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.tls import TlsSide, listen_side
from sealwire.proxy.session.moving.moves import Moves


class ServingAlone(Protocol):
    """A proxy, as far as the page looks at it."""

    metrics: Metrics

    @property
    def config(self) -> Config:
        """What counts now."""

    @property
    def policy(self) -> PolicyFile:
        """What counts now."""

    @property
    def keyring(self) -> Keyring:
        """What counts now."""

    @property
    def moves(self) -> Moves:
        """The classes that move."""


@final
class OwnFeed:
    """What one process knows of itself. Any thread may ask: what is read is replaced and never changed."""

    def __init__(self, serving: ServingAlone) -> None:
        self._serving = serving

    @property
    def config(self) -> Config:
        """What counts now."""
        return self._serving.config

    def render(self) -> bytes:
        """The text of /metrics."""
        return self._serving.metrics.render()

    def facts(self) -> PageFacts:
        """What the policy and the keyring say. Cost: O(paths + keys)."""
        serving = self._serving
        # a copy in one step: the event loop adds and takes away
        classes = dict(serving.moves.classes)
        moving = {name: None if uses is None else uses.frontier for name, uses in classes.items()}
        return facts_of(serving.policy.rules, serving.keyring, moving)


@final
class AskedFeed:
    """What a supervisor knows: figures that are added up, and the facts of a worker."""

    def __init__(
        self,
        config: Callable[[], Config],
        render: Callable[[], bytes],
        facts: Callable[[], PageFacts | None],
    ) -> None:
        """Each may be called from any thread, and raises TimeoutError where nobody answers."""
        self._config = config
        self.render = render
        self.facts = facts

    @property
    def config(self) -> Config:
        """What counts now."""
        return self._config()


AdminFiles = tuple[TlsSide, Token | None]
"""What the files of the admin address hold."""


def admin_files(config: Config) -> AdminFiles:
    """The files that the admin address needs. Raises FileProblem, PermissionProblem."""
    page = config.admin_page
    return listen_side(config.admin_tls), None if page.token_file is None else Token(page.token_file)


def make_admin(
    config: Config,
    health: HealthView,
    feed: PageFeed,
    files: AdminFiles,
    watch: WatchReader | None,
) -> AdminServer:
    """Bind the admin address; with the page where somebody can be told from anybody. Raises ListenProblem."""
    tls, token = files
    door = None
    if token is not None or config.admin_tls.client_ca is not None:
        door = PageDoor(config, health, feed, token, watch)
    return AdminServer(config.admin, health, feed, tls, door, known_hosts(config))
