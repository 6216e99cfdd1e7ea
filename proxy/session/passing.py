"""The memory of commands that pass untouched: what to count, and what their replies need."""

from typing import Final, final

from sealwire.policies.passage import Target
from sealwire.policies.views import ViewCatalog
from sealwire.proxy.session.effects import Count
from sealwire.proxy.session.requests import Request

# Names come from clients; an application that reads collections without end must not make this grow.
_MAX_REMEMBERED: Final = 4096


@final
class PassingCommands:
    """Targets of which the planner has said that their commands pass; shared by all sessions of a policy.

    What the planner said rests on the policy, which never changes, and on what the server has said of views,
    whose `edition` tells when that may have changed: then everything is forgotten.
    """

    __slots__ = ("_edition", "_known", "_views", "planned")

    def __init__(self, views: ViewCatalog, planned: frozenset[bytes] = frozenset()) -> None:
        self._views = views
        self.planned = planned
        """Names of collections whose commands are most likely planned: not looked for here."""
        self._edition = views.edition
        self._known: dict[Target, tuple[Request, Count]] = {}

    def get(self, target: Target) -> tuple[Request, Count] | None:
        """What a command on this target is awaited and counted as, when it may pass. Cost: O(1)."""
        if self._edition != self._views.edition:
            self._known.clear()
            self._edition = self._views.edition
        return self._known.get(target)

    def remember(self, target: Target, request: Request, count: Count) -> None:
        """The planner, asked in this edition of the views, let a command on `target` pass untouched."""
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        if self._edition == self._views.edition:
            self._known[target] = request, count
