"""What a set tells of its members: the proxy's addresses in their places, and nobody who has no listener."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.members import STRANGER, names_own_address, rewrite_members
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.session.world import KEYRING, POLICY, command, decoded, reply, sections

BODY = 21  # offset of the body in an OP_MSG whose only section it is
CHECKSUM = 1
MEMBERS = {"a:27017": "proxy:1", "b:27017": "proxy:2"}


def body_of(message: bytes) -> dict[str, Any]:
    return decoded(sections(message)[0][1][0])


def session(members: dict[str, str]) -> Session:
    topology = Topology("proxy:1", members, withholds=True)
    return Session(Shared(SessionSettings(POLICY, login_required=False), KEYRING), topology)


def told(
    members: dict[str, str], answer: dict[str, Any], name: str = "hello", flags: int = 0
) -> list[Effect]:
    """What becomes of an answer."""
    here = session(members)
    here.client_data(command({name: 1, "$db": "admin"}, 1))
    return here.server_data(reply({**answer, "ok": 1.0}, flags=flags))


def document_in(effects: list[Effect]) -> dict[str, Any]:
    effect = effects[0]
    assert isinstance(effect, ToClient)
    return body_of(effect.data)


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_a_member_without_a_listener_is_left_out_of_hello_until_it_has_one(flags: int) -> None:
    members = dict(MEMBERS)
    answer = {
        "hosts": ["a:27017", "new:27017", "B:27017"],
        "arbiters": ["c:1"],
        "me": "a:27017",
        "primary": "new:27017",
    }
    effects = told(members, answer, flags=flags)
    assert document_in(effects) == {
        "hosts": ["proxy:1", "proxy:2"],
        "arbiters": [],
        "me": "proxy:1",
        "ok": 1.0,
    }
    assert effects[1:] == [StrangerMet()]
    members |= {"new:27017": "proxy:3", "c:1": "proxy:4"}
    effects = told(members, answer, flags=flags)
    assert document_in(effects)["hosts"] == ["proxy:1", "proxy:3", "proxy:2"]
    assert (document_in(effects)["primary"], effects[1:]) == ("proxy:3", [])


def test_a_session_that_is_open_hears_of_members_that_come_later() -> None:
    members = dict(MEMBERS)
    here = session(members)
    for number, host in enumerate(("a:27017", "new:27017"), 1):
        here.client_data(command({"hello": 1, "$db": "admin"}, number))
        members["new:27017"] = "proxy:3"
        answer = here.server_data(reply({"hosts": [host], "me": host, "ok": 1.0}, number))
        assert document_in(answer)["me"] == ("proxy:1", "proxy:3")[number - 1]


def test_a_server_that_calls_itself_by_a_name_that_nobody_knows_ends_the_session_and_is_looked_for() -> None:
    effects = told(MEMBERS, {"hosts": ["a:27017"], "me": "new:27017"})
    assert effects[0] == StrangerMet()
    assert isinstance(effects[1], Close)
    assert effects[1].reason is CloseReason.TOPOLOGY


STATUS = {
    "set": "rs0",
    "syncSourceHost": "b:27017",
    "members": [
        {"_id": 0, "name": "a:27017", "syncSourceHost": ""},
        {"_id": 1, "name": "B:27017", "syncSourceHost": "hidden:5"},
    ],
    "initialSyncStatus": {"initialSyncAttempts": [{"syncSource": "a:27017"}]},
}
CONFIG = {
    "config": {
        "_id": "rs0",
        "members": [{"host": "hidden:5", "horizons": {"x": "a.outside:1"}, "tags": {"name": "a:27017"}}],
        "settings": {"getLastErrorModes": {"host": "kept"}},
    }
}


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_status_and_configuration_name_the_proxy(flags: int) -> None:
    assert document_in(told(MEMBERS, STATUS, "replSetGetStatus", flags)) == {
        "set": "rs0",
        "syncSourceHost": "proxy:2",
        "members": [
            {"_id": 0, "name": "proxy:1", "syncSourceHost": ""},
            {"_id": 1, "name": "proxy:2", "syncSourceHost": STRANGER},
        ],
        "initialSyncStatus": {"initialSyncAttempts": [{"syncSource": "proxy:1"}]},
        "ok": 1.0,
    }
    found = document_in(told(MEMBERS, CONFIG, "replSetGetConfig", flags))
    assert found["config"]["members"] == [{"host": STRANGER, "tags": {"name": "a:27017"}}]
    assert found["config"]["settings"] == CONFIG["config"]["settings"]


def test_while_no_member_has_a_listener_none_is_taken_for_the_one_that_is_left() -> None:
    """As with a set whose only member has another name now, and whose port is taken."""
    effects = told({}, {"hosts": ["new:1"], "primary": "new:1"})
    assert document_in(effects) == {"hosts": [], "ok": 1.0}
    assert StrangerMet() in effects


@pytest.mark.parametrize("name", ["replSetGetStatus", "replSetGetConfig"])
def test_an_error_stays_as_it_is_and_counts(name: str) -> None:
    error = {"codeName": "NotYetInitialized", "code": 94, "errmsg": "no replset config"}
    here = session(MEMBERS)
    here.client_data(command({name: 1, "$db": "admin"}, 1))
    effects = here.server_data(reply({"ok": 0.0, **error}))
    assert document_in(effects) == {"ok": 0.0, **error}
    assert Count(Counter.SERVER_ERRORS, label=name) in effects


@pytest.mark.parametrize(
    "field", ["lastHeartbeatMessage", "infoMessage", "voteReason", "status", "errmsg", "of_a_newer_server"]
)
def test_sentences_name_the_proxy_too(field: str) -> None:
    said = "Error connecting to b:27017 (10.0.0.2:27017) :: caused by :: Connection refused"
    answer = {"members": [{"name": "b:27017", "ip": "10.0.0.2", field: said}]}
    (member,) = document_in(told(MEMBERS, answer, "replSetGetStatus"))["members"]
    assert member == {
        "name": "proxy:2",
        field: f"Error connecting to proxy:2 ({STRANGER}) :: caused by :: Connection refused",
    }


@given(
    st.recursive(
        st.text() | st.integers(0, 9),
        lambda inner: st.dictionaries(st.sampled_from(["name", "host", "x"]), inner),
    )
)
def test_no_member_is_named_by_its_own_name_wherever_it_stands(inside: Any) -> None:
    message = reply({"members": [{"name": "a:27017", "inside": inside}]})
    rewritten = body_of(rewrite_members(message, BODY, Topology("proxy:1", MEMBERS, withholds=True)))
    assert rewritten["members"][0]["name"] == "proxy:1"


@pytest.mark.parametrize(
    "asked",
    [
        {"replSetReconfig": {"_id": "rs0", "members": [{"_id": 0, "host": "Proxy:2"}]}},
        {"replSetInitiate": {"_id": "rs0", "members": [{"_id": 0, "host": STRANGER}]}},
        {"replSetSyncFrom": "proxy:1"},
    ],
)
def test_members_are_never_told_of_the_proxys_addresses(asked: dict[str, Any]) -> None:
    here = session(MEMBERS)
    effects = here.client_data(command({**asked, "$db": "admin"}, 1))
    assert not any(isinstance(effect, ToServer) for effect in effects)
    answer = next(effect for effect in effects if isinstance(effect, ToClient))
    assert "Sealwire" in body_of(answer.data)["errmsg"]


@pytest.mark.parametrize(
    "asked", [{"replSetReconfig": {"members": [{"host": "c:27017"}]}}, {"replSetSyncFrom": "b:27017"}]
)
def test_their_own_names_pass(asked: dict[str, Any]) -> None:
    message = command({**asked, "$db": "admin"}, 1)
    assert ToServer(message) in session(MEMBERS).client_data(message)
    assert not names_own_address(message, BODY, Topology("proxy:1", MEMBERS))
