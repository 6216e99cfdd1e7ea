"""`sealwire serve` with one rule of the frontier taken away, which a test with moves under way has to notice.

python -m tests.integration.differential.broken_proxy RULE serve --config FILE
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from unittest.mock import patch

from sealwire.keys.frontier.frontier import Form, Frontier, Position, UseId, Uses
from sealwire.testbed.child import Arguments
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess


class Rule(Enum):
    """What is taken away."""

    NEW_FORM = "new-form"
    """A value that has moved is sent in its new form."""
    WAITING = "waiting"
    """What uses a value of the open window waits."""
    HOLDING_UP = "holding-up"
    """What is under way and uses a value of a window holds it up."""


class BrokenProxy(ProxyProcess):
    """A proxy without one rule."""

    def __init__(self, options: ProxyOptions, rule: Rule) -> None:
        super().__init__(options)
        self._rule = rule

    def arguments(self) -> Arguments:
        """As its base class, by this module."""
        program, _, _, *words = super().arguments()
        return [program, "-m", __spec__.name, self._rule.value, *words]


def _without_new_form() -> None:
    patch.object(Frontier, "form", lambda _frontier, _position: Form.OLD).start()


def _without_waiting() -> None:
    known, begun = Frontier.form, Uses.begin

    def form(frontier: Frontier, position: Position) -> Form:
        found = known(frontier, position)
        return Form.OLD if found is Form.MOVING else found

    def begin(uses: Uses, positions: Iterable[Position] | None) -> UseId | None:
        use = begun(uses, positions)
        return uses.adopt() if use is None else use

    patch.object(Frontier, "form", form).start()
    patch.object(Uses, "begin", begin).start()


def _without_holding_up() -> None:
    patch.object(Uses, "met", lambda _uses: ()).start()


_TAKEN_AWAY: Mapping[Rule, Callable[[], None]] = {
    Rule.NEW_FORM: _without_new_form,
    Rule.WAITING: _without_waiting,
    Rule.HOLDING_UP: _without_holding_up,
}


def main() -> None:
    """Take the rule away, and serve."""
    _TAKEN_AWAY[Rule(sys.argv.pop(1))]()
    from sealwire.cli import main as sealwire

    sealwire()


if __name__ == "__main__":
    main()
