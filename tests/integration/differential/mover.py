"""The job of the moving campaign: a process that moves classes by windows, and may be killed at any moment.

It is `sealwire migrate` without a command line, a ledger and temporary indexes: collections come and go here
with every sequence, and the application's own indexes are compared.
"""

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.frontier import Frontier, pending_version_of, version_of
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import KeyringWriter, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import activate, begin_move
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.engine import Runner
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import Job, Standing, Stretch
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.moves import Direction, moves_of
from sealwire.sidecars.migration.server import MongoDocuments
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers, transaction_lifetime_s
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.order import ClassPaths, class_paths
from sealwire.sidecars.migration.windows.server import MongoValues
from sealwire.sidecars.migration.windows.turn import Stores, Turn, TurnPace

MOST_IN_WINDOW = 2
"""Documents: so that a frontier stands at many places."""
LONGEST_REST_S = 0.5
MOST_LOOKS = 20


@dataclass(frozen=True, slots=True)
class MovedSite:
    """Where the server, the policy and the keyring of a campaign are."""

    uri: str
    policy: Path
    keyring: Path
    kek: str = field(repr=False)
    contexts: Path
    """The store of the keys of contexts."""
    linger_s: float = 0.0
    """How long each look into a window that moves is put off, so that more commands meet it."""

    def open_kek(self) -> EnvironmentKek:
        """What unwraps the keyring."""
        return EnvironmentKek(environ={DEFAULT_VARIABLE: self.kek})

    def read_keys(self) -> tuple[DataKey, ...]:
        """Those of the keyring as it is now."""
        return tuple(open_record(read_record(self.keyring), self.open_kek(), self.keyring))


class _Unwritten:
    """Jobs of which nothing is written down: another process begins with the frontier, as it has to."""

    def save(self, _job: Job) -> Wish:
        """Nobody wishes anything."""
        return Wish.RUN


class _WithoutIndexes(MongoValues):
    """See the module."""

    def index(self, places: Sequence[ClassPaths]) -> None:
        """None is made."""

    def unindex(self) -> None:
        """None was made."""


class _Lingering(MongoFrontiers):
    """Goes about a window slowly."""

    linger_s = 0.0

    def confirm(self, frontier: Frontier) -> None:
        """As its base class, after a while."""
        time.sleep(self.linger_s)
        super().confirm(frontier)


def work(site: MovedSite, class_names: Sequence[str], seed: int) -> None:
    """Move these deterministic classes beside each other, to the end, and random ones to their newest keys.

    Raises where one does not get there.
    """
    with connected(site.uri) as client, ThreadPoolExecutor(len(class_names)) as pool:
        chances = [random.Random(f"{seed} {name}") for name in class_names]
        random_classes = pool.submit(_reencrypt, site, client)
        for _ in pool.map(partial(_move, site, client), class_names, chances):
            pass
        random_classes.result()


def _reencrypt(site: MovedSite, client: Client) -> None:
    """The values of random classes, in collections that come and go meanwhile.

    Those that have the key of their context keep it.
    """
    policies = load_policy(site.policy.read_bytes(), site.policy.name)
    names = [each.namespace for each in covered_collections(client, policies) if each.kind != "view"]
    moves = tuple(moves_of(policies, names)[0])
    stretches = tuple(Stretch(name) for name in dict.fromkeys(move.namespace for move in moves))
    now = datetime.now(UTC)
    job = Job("random", Direction.REENCRYPT, WrongType.SKIP, moves, stretches, now, now)
    keyring = Keyring(site.read_keys())
    with closing(SqliteContextStore(site.contexts)) as store:
        contexts = JobContexts(store, keyring, policies)
        done = Runner(job, MongoDocuments(client), _Unwritten(), keyring, contexts=contexts).run()
    if done.standing is not Standing.DONE:
        raise RuntimeError(f"random classes are {done.standing.value}")


def _move(site: MovedSite, client: Client, class_name: str, chance: random.Random) -> None:
    mine = [key for key in site.read_keys() if key.class_name == class_name]
    by_state = {key.state: key for key in mine}
    pending = by_state.get(KeyState.PENDING)
    if pending is None:
        return
    keyring = Keyring(mine)
    policies = load_policy(site.policy.read_bytes(), site.policy.name)
    old, new = version_of(keyring, class_name), pending_version_of(keyring, class_name)
    if new is None:
        raise RuntimeError(f"{class_name} does not move")
    versions = Versions.of_class(old, new, policies.classes[class_name])

    def places() -> list[ClassPaths]:
        found = covered_collections(client, policies)
        names = [each.namespace for each in found if each.exists and each.kind != "view"]
        return class_paths(policies, names, class_name)

    ciphers = versions.old.cipher, versions.new.cipher
    now = datetime.now(UTC)
    job = Job(class_name, Direction.REENCRYPT, WrongType.SKIP, (), (), now, now)
    with (
        closing(SqliteContextStore(site.contexts)) as store,
        client.start_session(causal_consistency=True) as session,
    ):
        values = _WithoutIndexes(client, session, pending.class_id, places)
        frontiers = _Lingering(client, session, ciphers, transaction_s=transaction_lifetime_s(client, None))
        frontiers.linger_s = site.linger_s
        contexts = None if versions.per is None else JobContexts(store, keyring, policies)
        stores = Stores(values, frontiers, _Unwritten(), contexts)
        pace = TurnPace(_rest(chance), most=MOST_IN_WINDOW)
        ends = partial(_activate, site, class_name), pace, partial(_mark_begun, site, class_name)
        done = Turn(job, versions, stores, *ends).run()
        looks = 1
        while {each.why for each in done.refusal} == {Left.NOT_ADDRESSABLE} and looks < MOST_LOOKS:
            # a sequence has just made such a document, and ends with it: the next one drops the collection
            time.sleep(LONGEST_REST_S)
            done = Turn(job, versions, stores, *ends).run()
            looks += 1
    if done.standing is not Standing.DONE:
        raise RuntimeError(f"{class_name} is {done.standing.value}: {[each.why for each in done.refusal]}")


def _rest(chance: random.Random) -> Callable[[float, float], None]:
    return lambda _busy_s, _waited_s: time.sleep(chance.random() * LONGEST_REST_S)


def _mark_begun(site: MovedSite, class_name: str, place: str) -> None:
    begin_move(KeyringWriter(site.keyring, site.open_kek(), datetime.now(UTC)), class_name, place)


def _activate(site: MovedSite, class_name: str) -> None:
    activate(KeyringWriter(site.keyring, site.open_kek(), datetime.now(UTC)), class_name)
