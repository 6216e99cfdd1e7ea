"""Who makes room for a newcomer: the silent, then those without a login of the address that has most."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from sealwire.proxy.server.connections.places import ClientStage, one_to_end

S, A, K, E = ClientStage.SILENT, ClientStage.ANONYMOUS, ClientStage.KNOWN, ClientStage.ENDING


@dataclass
class Placed:
    number: int
    host: str
    standing: ClientStage

    def abort(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([(S, "a"), (S, "b"), (A, "a"), (K, "a")], 0),  # the oldest that has said nothing
        ([(K, "a")] * 6, None),  # who is logged in stays
        ([(E, "a")] * 6, None),
        ([(A, "a")] * 3 + [(K, "a")], None),  # monitors within their share stay
        ([(A, "a")] * 3 + [(A, "b")] + [(K, "a")], 2),  # the newest of the address that has most
        ([(A, "new")] * 4, None),  # the newcomer's own address has the most
        ([(A, "a"), (A, "b"), (A, "c"), (A, "d")], None),  # nobody has more than the newcomer would
        ([(A, "a")] * 2 + [(A, "new")] * 2, None),
        ([(A, "a")] * 4 + [(A, "new")] * 2, 3),
    ],
)
def test_who_makes_room(standings: Sequence[tuple[ClientStage, str]], expected: int | None) -> None:
    placed = [Placed(number, host, standing) for number, (standing, host) in enumerate(standings)]
    found = one_to_end(reversed(placed), "new", 3)
    assert (None if found is None else found.number) == expected
