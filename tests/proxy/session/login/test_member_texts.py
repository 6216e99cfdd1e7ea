"""Sentences of servers: whoever they name is called by the proxy's address, and nothing else changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.members import STRANGER, MemberTexts

MEMBERS = {
    "mongo-a.clinic.test:27017": "proxy.test:1",
    "mongo-b:27018": "proxy.test:2",
    "[fd00::3]:27017": "proxy.test:3",
}
STRANGE_HOST = STRANGER.partition(":")[0]
TEXTS = MemberTexts(Topology("proxy.test:1", MEMBERS, withholds=True))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("syncing from: MONGO-B:27018", "syncing from: proxy.test:2"),
        ("no address for mongo-a.clinic.test.", "no address for proxy.test."),
        ("no address for Mongo-B: try again", "no address for proxy.test: try again"),
        ("mongo-b:27018", "proxy.test:2"),
        ("connecting to [fd00::3]:27017 failed", "connecting to proxy.test:3 failed"),
        ("connecting to [fd00::9]:27017 failed", f"connecting to {STRANGER} failed"),
        ("connecting to [fd00::9] failed", f"connecting to {STRANGE_HOST} failed"),
        ("hidden.clinic.test:27019, 10.0.0.2:27017", f"{STRANGER}, {STRANGER}"),
        ("mongo-b:99", STRANGER),
        ("10.0.0.2", STRANGE_HOST),
    ],
)
def test_a_member_is_called_by_the_proxys_address(said: str, told: str) -> None:
    assert TEXTS.told(said) == told


@pytest.mark.parametrize(
    "said",
    [
        "",
        "mongo-b",
        "could not find member to sync from",
        "at 2026-11-27T10:15:20.123Z, or 10:15:20",
        "HostUnreachable :: caused by :: code:6, version 7.0.12",
        "not mongo-bb, nor a.mongo-b, nor mongo-a",
    ],
)
def test_what_names_nobody_stays(said: str) -> None:
    assert TEXTS.told(said) == said


def test_with_one_listener_all_members_are_that_one() -> None:
    told = MemberTexts(Topology("proxy.test:1")).told("connecting to b:27017 (10.0.0.2)")
    assert told == f"connecting to proxy.test:1 ({STRANGE_HOST})"


@given(st.text(), st.sampled_from(sorted(MEMBERS)), st.text())
def test_no_name_with_its_port_is_left_beside_any_words(before: str, name: str, after: str) -> None:
    assert name not in TEXTS.told(f"{before} {name} {after}")
