"""Which port stands for which member: the same for everybody, over restarts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.discovery.view import PortMap, read_map, write_map
from sealwire.proxy.server.errors import FileProblem, StartReason

MEMBERS = [Address(f"m{number}", 27017) for number in range(6)]
A, B, C, D, *_ = MEMBERS
PORTS = range(100, 104)
some_members = st.lists(st.sampled_from(MEMBERS), unique=True)


def test_new_members_come_in_the_order_of_their_names() -> None:
    assert PortMap().with_members([C, A, B], PORTS).ports == {A: 100, B: 101, C: 102}


def test_a_member_keeps_its_port_while_others_come_and_go() -> None:
    first = PortMap().with_members([A, C], PORTS)
    assert first.with_members([A, B, C], PORTS).ports == {A: 100, C: 101, B: 102}
    away = first.with_members([C], PORTS)
    assert away.with_members([A, C], PORTS).ports == {A: 100, C: 101}


def test_the_port_of_one_that_went_is_given_away_when_no_other_is_left() -> None:
    full = PortMap().with_members(MEMBERS[:4], PORTS)
    assert full.with_members([A, C, D, MEMBERS[4]], PORTS).ports == {A: 100, MEMBERS[4]: 101, C: 102, D: 103}
    assert MEMBERS[5] not in full.with_members([*MEMBERS[:4], MEMBERS[5]], PORTS).ports


def test_a_member_outside_of_a_range_that_was_changed_gets_another_port() -> None:
    assert PortMap({A: 5, B: 101}).with_members([A, B], PORTS).ports == {A: 100, B: 101}


@given(st.lists(some_members), some_members)
def test_each_has_a_port_of_its_own_and_nobody_who_is_there_loses_it(
    before: list[list[Address]], now: list[Address]
) -> None:
    ports = PortMap()
    for members in before:
        ports = ports.with_members(members, PORTS)
    after = ports.with_members(now, PORTS)
    assert len(set(after.ports.values())) == len(after.ports) <= len(PORTS)
    assert set(after.ports.values()) <= set(PORTS)
    assert sum(member in after.ports for member in now) == min(len(now), len(PORTS))
    kept = {member: port for member, port in ports.ports.items() if member in now}
    assert kept.items() <= after.ports.items()
    assert ports.with_members(reversed(now), PORTS) == after


def test_what_is_written_is_read_and_only_by_its_owner_changed(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert read_map(file) == read_map(None) == PortMap()
    ports = PortMap({A: 100, Address("::1", 5): 101})
    write_map(file, ports)
    assert read_map(file) == ports
    assert file.stat().st_mode & 0o777 == 0o600
    write_map(None, ports)
    file.chmod(0o666)
    with pytest.raises(FileProblem) as caught:
        read_map(file)
    assert caught.value.reason is StartReason.FILE_FORBIDDEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "ports": {}}',
        '{"version": 1, "ports": {"m0:1": 5, "m1:1": 5}}',
        '{"version": 1, "ports": {"m0:1": 5, "m0:01": 6, "m0": "x"}}',
        '{"version": 1, "ports": {"no address": 5}}',
        '{"version": 1, "ports": {"m0:1": "5"}}',
        '{"version": 1, "ports": []}',
    ],
)
def test_a_file_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(FileProblem):
        read_map(file)


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblem) as caught:
        write_map(tmp_path / "missing" / "ports.json", PortMap())
    assert caught.value.reason is StartReason.FILE_UNWRITABLE


def test_a_file_that_cannot_be_looked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblem) as caught:
        read_map(tmp_path / ("x" * 300))
    assert caught.value.reason is StartReason.FILE_FORBIDDEN
