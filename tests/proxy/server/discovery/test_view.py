"""What the answers of several servers say together."""

from dataclasses import replace

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.discovery.view import ClusterKind, ClusterView, view_of
from sealwire.proxy.server.probe import Hello

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
