"""Who makes room for a newcomer: the silent, then those without a login of the address that has most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from sealwire.proxy.server.connections.sessions import ClientStage, has_kept_place, one_to_end

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


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"a": 20}, True),
        ({"a": 19, "new": 1}, True),
        ({"a": 18, "new": 2}, False),  # a tenth is no few
        ({"a": 20, "b": 1}, True),
        ({"a": 20, "b": 2}, False),  # those are taken too
    ],
)
def test_beyond_the_limit_an_address_with_few_places_may_come(
    taken: Mapping[str, int], *, expected: bool
) -> None:
    hosts = [host for host, count in taken.items() for _ in range(count)]
    assert has_kept_place(hosts, "new", 20) is expected
    assert not has_kept_place(hosts, "a", 20)


def test_a_small_limit_has_nothing_beyond() -> None:
    assert not has_kept_place(["a"] * 9, "new", 9)
