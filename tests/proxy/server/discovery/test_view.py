"""What the answers of several servers say together."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import AccessControl, Discovery, Member, Seeds
from sealwire.proxy.server.discovery.view import (
    ClusterKind,
    ClusterView,
    PortLayout,
    PortMap,
    UnfitMember,
    judged,
    layout_of,
    read_map,
    unfit_of,
    view_of,
    write_map,
)
from sealwire.proxy.server.errors import AccessProblem, FileProblem, StartReason, UpstreamUnavailable
from sealwire.proxy.server.probe import Hello
from tests.support.reasons import raising
from tests.support.rows import rows

A, B, C, D = (Address(f"m{number}", 27017) for number in range(4))
NAMES = ("m0:27017", "M1:27017", "m2:27017")
SECONDARY = Hello("rs0", NAMES)
PRIMARY = Hello("rs0", NAMES, is_primary=True, election_id=b"1", set_version=1)
MONGOS = Hello("", (), is_mongos=True)
ALONE = Hello("", (), is_standalone=True)
GHOST = Hello("", ())
SET = ClusterView(ClusterKind.REPLICA_SET, (A, B, C), "rs0", (b"1", 1))


def test_a_primary_says_who_its_members_are_whatever_the_seeds_are_called() -> None:
    assert view_of([D], "", {D: PRIMARY}, None) == SET


def test_without_a_primary_members_are_those_that_somebody_names() -> None:
    one, other = replace(SECONDARY, members=("m0:27017",)), replace(SECONDARY, members=("m2:27017",))
    found = view_of([A, C], "", {A: one, C: other}, None)
    assert found == ClusterView(ClusterKind.REPLICA_SET, (A, C), "rs0")
    assert view_of([A], "", {A: replace(SECONDARY, members=("m3:27017",))}, SET) == replace(
        SET, members=(A, B, C, D)
    )


def test_only_a_primary_lets_members_go() -> None:
    fewer = replace(PRIMARY, members=("m0:27017",), set_version=2)
    assert view_of([A], "", {A: fewer}, SET) == ClusterView(ClusterKind.REPLICA_SET, (A,), "rs0", (b"1", 2))


def test_a_primary_of_an_older_election_is_not_believed() -> None:
    newer, older = replace(PRIMARY, election_id=b"2"), replace(PRIMARY, members=("m3:27017",))
    after = view_of([A], "", {A: newer, B: older}, None)
    assert after == replace(SET, election=(b"2", 1))
    assert view_of([A], "", {B: replace(older, members=("m0:27017",))}, after) == after


def test_a_server_of_another_set_says_nothing() -> None:
    other = replace(PRIMARY, set_name="other", members=("m3:27017",))
    assert view_of([A], "rs0", {A: other}, None) is None
    assert view_of([A], "rs0", {A: other, B: SECONDARY}, None) == replace(SET, election=(b"", 0))
    assert view_of([A], "", {A: other}, SET) == SET


def test_names_that_are_no_addresses_and_more_members_than_a_set_has_are_left_out() -> None:
    odd = replace(PRIMARY, members=("m0:27017", "", "m1:0", "a b:1", "m1:27017\n"))
    assert view_of([A], "", {A: odd}, None) == ClusterView(ClusterKind.REPLICA_SET, (A,), "rs0", (b"1", 1))
    many = tuple(f"n{number}:1" for number in range(60))
    found = view_of([A], "", {A: replace(PRIMARY, members=many)}, None)
    assert found is not None
    assert len(found.members) == 50
    assert view_of([A], "", {A: replace(SECONDARY, members=many)}, SET) == SET


def test_mongos_servers_are_the_seeds_but_those_that_are_something_else() -> None:
    found = view_of([A, B, C], "", {A: MONGOS, B: ALONE}, None)
    assert found == ClusterView(ClusterKind.SHARDED, (A, C))
    assert view_of([A, D], "", {A: MONGOS}, found) == ClusterView(ClusterKind.SHARDED, (A, D))
    assert view_of([A], "", {A: GHOST}, found) == found


def test_one_server_of_its_own_is_taken_and_several_are_not() -> None:
    alone = ClusterView(ClusterKind.STANDALONE, (A,))
    assert view_of([A], "", {A: ALONE}, None) == alone
    assert view_of([A, B], "", {A: ALONE, B: ALONE}, None) is None
    assert view_of([A], "rs0", {A: ALONE}, None) is None


def test_a_server_of_its_own_that_becomes_a_set_is_followed_by_the_name_that_it_has() -> None:
    alone = ClusterView(ClusterKind.STANDALONE, (A,))
    assert view_of([A], "", {A: PRIMARY}, alone) == SET
    assert view_of([A], "", {A: GHOST}, alone) == alone
    assert view_of([A], "", {}, alone) == alone
    elsewhere = replace(alone, members=(D,))
    assert view_of([D], "", {D: PRIMARY}, elsewhere) == elsewhere


def test_nobody_is_known_without_answers_or_before_a_set_has_a_configuration() -> None:
    assert view_of([A], "", {}, None) is None
    assert view_of([A], "", {A: GHOST}, None) is None
    assert view_of([A], "", {}, SET) == SET


def test_a_primary_that_names_nobody_takes_no_member_away() -> None:
    for names in ((), ("no address",)):
        assert view_of([A], "", {A: replace(PRIMARY, members=names)}, SET) == SET


# ----------------------------------------------------------------------------------------------------
# Which port stands for which member: the same for everybody, over restarts.

MEMBERS = [Address(f"m{number}", 27017) for number in range(6)]
ON_A, ON_B, ON_C, *_ = MEMBERS
PORTS = range(100, 104)
some_members = st.lists(st.sampled_from(MEMBERS), unique=True)


def test_new_members_come_in_the_order_of_their_names() -> None:
    assert PortMap().with_members([ON_C, ON_A, ON_B], PORTS).ports == {ON_A: 100, ON_B: 101, ON_C: 102}


def test_a_member_outside_of_a_range_that_was_changed_gets_another_port() -> None:
    assert PortMap({ON_A: 5, ON_B: 101}).with_members([ON_A, ON_B], PORTS).ports == {ON_A: 100, ON_B: 101}


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
    ports = PortMap({ON_A: 100, Address("::1", 5): 101})
    write_map(file, ports)
    assert read_map(file) == ports
    assert file.stat().st_mode & 0o777 == 0o600
    write_map(None, ports)
    file.chmod(0o666)
    with raising(FileProblem, StartReason.FILE_FORBIDDEN):
        read_map(file)


@rows(
    "text",
    "",
    "[]",
    "{}",
    '{"version": 2, "ports": {}}',
    '{"version": 1, "ports": {"m0:1": 5, "m1:1": 5}}',
    '{"version": 1, "ports": {"m0:1": 5, "m0:01": 6, "m0": "x"}}',
    '{"version": 1, "ports": {"no address": 5}}',
    '{"version": 1, "ports": {"m0:1": "5"}}',
    '{"version": 1, "ports": []}',
)
def test_a_file_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ports.json"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(FileProblem):
        read_map(file)


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with raising(FileProblem, StartReason.FILE_UNWRITABLE):
        write_map(tmp_path / "missing" / "ports.json", PortMap())


def test_a_file_that_cannot_be_looked_for_is_an_error(tmp_path: Path) -> None:
    with raising(FileProblem, StartReason.FILE_FORBIDDEN):
        read_map(tmp_path / ("x" * 300))


# ----------------------------------------------------------------------------------------------------
# Which listener stands for which member.

SETTINGS = Discovery(Seeds((A,)), "::", "proxy.test", 100, 101)


def test_listeners_come_in_the_order_of_their_ports_and_clients_are_told_the_advertised_host() -> None:
    layout = layout_of(SETTINGS, [A, B], PortMap({B: 100, A: 101, Address("gone", 1): 102}))
    assert layout.members == (
        Member(Address("::", 100), Address("proxy.test", 100), B),
        Member(Address("::", 101), Address("proxy.test", 101), A),
    )
    assert layout.names == {"m1:27017": "proxy.test:100", "m0:27017": "proxy.test:101"}


def test_a_member_without_a_port_has_no_listener_and_no_name() -> None:
    layout = layout_of(SETTINGS, [A, B], PortMap({A: 100}))
    assert (layout.withheld, layout.names) == ((B,), {"m0:27017": "proxy.test:100"})
    assert layout != PortLayout(layout.members)


def test_a_member_that_may_not_be_used_keeps_its_port_and_has_no_listener() -> None:
    unfit = UnfitMember(A, StartReason.UPSTREAM_TLS_VERIFY, "", "")
    layout = layout_of(SETTINGS, [A, B], PortMap({A: 100, B: 101}), [unfit])
    assert (layout.names, layout.left_out, layout.withheld) == ({"m1:27017": "proxy.test:101"}, (A,), ())
    assert layout != layout_of(SETTINGS, [B], PortMap({A: 100, B: 101}))


def test_an_operator_is_told_of_whoever_has_no_listener() -> None:
    assert layout_of(SETTINGS, [A], PortMap({A: 100})).findings == []
    unfit = UnfitMember(A, StartReason.UPSTREAM_TLS_VERIFY, "", "")
    left_out, withheld = layout_of(SETTINGS, [A, B], PortMap({A: 100}), [unfit]).findings
    assert (left_out.fields["upstream"], withheld.fields["members"]) == (str(A), str(B))


# ----------------------------------------------------------------------------------------------------
# Which servers may be used, as their answers say.

ASKS = Hello("rs0", (), AccessControl.REQUIRED)
OPEN = Hello("rs0", (), AccessControl.NONE)
SILENT = Hello("rs0", ())
IMPOSTOR = UpstreamUnavailable(StartReason.UPSTREAM_TLS_VERIFY, "server m0:27017: its certificate")
DOWN = UpstreamUnavailable(StartReason.UPSTREAM_REFUSED, "server m0:27017: refused")
WANTED, UNWANTED = AccessControl.REQUIRED, AccessControl.NONE


def test_a_certificate_that_is_not_accepted_and_a_missing_login_speak_against_a_server() -> None:
    assert unfit_of(A, IMPOSTOR, UNWANTED) is IMPOSTOR
    error = unfit_of(A, OPEN, WANTED)
    assert isinstance(error, AccessProblem)
    assert str(A) in str(error)
    assert [unfit_of(A, each, WANTED) for each in (ASKS, SILENT, DOWN)] == [None] * 3
    assert unfit_of(A, OPEN, UNWANTED) is None


def test_what_is_known_against_a_server_counts_until_it_answers_as_it_should() -> None:
    impostor, without_login = judged({}, {A: IMPOSTOR}, WANTED), judged({}, {A: OPEN}, WANTED)
    for known in (impostor, without_login):
        assert judged(known, {A: DOWN, B: ASKS}, WANTED) == known
        assert judged(known, {A: ASKS}, WANTED) == {}
    assert judged(impostor, {A: SILENT}, WANTED) == {}
    assert judged(without_login, {A: SILENT}, WANTED) == without_login
    assert judged(without_login, {A: OPEN}, UNWANTED) == {}


def test_who_is_no_longer_asked_is_forgotten() -> None:
    assert judged({A: IMPOSTOR}, {B: ASKS}, WANTED) == {}


def test_an_operator_is_told_which_server_it_is_and_why() -> None:
    finding = UnfitMember(A, IMPOSTOR.reason, str(IMPOSTOR), "").finding
    assert finding.fields == {"upstream": str(A), "reason": "upstream-tls-verify"}
