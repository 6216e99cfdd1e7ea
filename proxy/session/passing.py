"""The memory of commands that pass: what to count, and what their replies need."""

from typing import Final, final

from sealwire.policies.commands.passage import Target
from sealwire.proxy.session.effects import Count
from sealwire.proxy.session.requests import Request

# Names come from clients; an application that reads collections without end must not make this grow.
_MAX_REMEMBERED: Final = 4096
# A namespace of 255 bytes, which no server has longer, and what is around it.
_LONGEST_TARGET: Final = 512


@final
class PassingCommands:
    """Targets of which the planner has said that their commands pass; shared by all sessions of a policy.

    Only what rests on the policy alone is remembered, and a policy never changes. What the server has said of
    a name counts once, for one command, and is no reason to remember anything.
    """

    __slots__ = ("_known", "planned")

    def __init__(self, planned: frozenset[bytes] = frozenset()) -> None:
        self.planned = planned
        """Names of collections whose commands are most likely planned: not looked for here."""
        self._known: dict[Target, tuple[Request, Count]] = {}

    def get(self, target: Target) -> tuple[Request, Count] | None:
        """What a command on this target is awaited and counted as, when it may pass. Cost: O(1)."""
        return self._known.get(target)

    def remember(self, target: Target, request: Request, count: Count) -> None:
        """The planner let a command on `target` pass untouched, and asked nobody for it."""
        if len(target) > _LONGEST_TARGET:
            return
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[target] = request, count
