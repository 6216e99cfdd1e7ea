"""The updates of a window, and when the frontier is confirmed before them."""

from collections.abc import Sequence

import bson
import pytest

from sealwire.keys.frontier.record import IN_FLIGHT_S
from sealwire.sidecars.migration.server import Written
from sealwire.sidecars.migration.windows.moving import WHOLE, WindowMover
from tests.sidecars.migration.doubles import Fate
from tests.sidecars.migration.windows.doubles import PLACES, VERSIONS, MemoryValues
from tests.sidecars.migration.windows.world import clinic


class SlowValues(MemoryValues):
    """Each update takes long, or the process is stopped meanwhile."""

    took_s = 0.0
    now_s = 1000.0

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        events.append("update")
        self.now_s += self.took_s
        return super().update(namespace, updates)


events: list[str] = []


@pytest.mark.parametrize(
    ("took_s", "begins", "expected"),
    [
        (0.1, True, ["update", "update", "confirm"]),
        (IN_FLIGHT_S + 0.1, True, ["update", "confirm", "update", "confirm"]),
        (0.1, False, ["confirm", "update", "update", "confirm"]),
    ],
)
def test_no_update_is_sent_long_after_the_frontier_was_confirmed(
    took_s: float, expected: list[str], *, begins: bool
) -> None:
    """One that was stopped since then may not be the one that moves the class any more."""
    events.clear()
    documents = clinic()
    values = SlowValues(documents, Fate())
    values.took_s = took_s
    mover = WindowMover(values, VERSIONS, WHOLE, clock=lambda: values.now_s)
    mover.prepare(PLACES, {name: [*map(bson.encode, each)] for name, each in documents.items()})
    if begins:
        mover.begin()
    mover.move(lambda: events.append("confirm"))
    assert events == expected
