"""Another policy amid a conversation: what is sent from then on obeys it, what was asked before is read."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.effects import Effect, ToClient, ToServer
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session.world import (
    POLICY_TEXT,
    body_of,
    command,
    opened,
    reply,
    sealed,
    session_of,
    use_settings,
)

NHS = "943 476 5919"
FIND_WARDS = {"find": "wards", "filter": {"bed": NHS}, "$db": "clinic"}
FIND = {"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}
MORE = {"getMore": Int64(5), "collection": "patients", "$db": "clinic"}


def settings(text: bytes, *former: SessionSettings) -> SessionSettings:
    policies = tuple(each.policy for each in former)
    policy = load_policy(text, "policy.yaml")
    return SessionSettings(policy, login_required=False, former=policies)


OLD = settings(POLICY_TEXT)
WIDER = settings(
    POLICY_TEXT.replace(b"collections:\n", b"collections:\n  clinic.wards:\n    bed: nhs\n"), OLD
)
WITHOUT = settings(POLICY_TEXT.replace(b"clinic.patients", b"clinic.doctors"), OLD)
ELSEWHERE = settings(POLICY_TEXT.replace(b"clinic.patients", b"other.patients"), OLD)


def sent(effects: list[Effect]) -> list[bytes]:
    return [effect.data for effect in effects if isinstance(effect, ToServer)]


def batch(name: str, number: int, cursor: int) -> bytes:
    inside = {"id": Int64(cursor), "ns": "clinic.patients", name: [{"nhs_number": sealed("nhs", NHS)}]}
    return reply({"cursor": inside, "ok": 1.0}, number)


def read(effects: list[Effect]) -> list[dict[str, Any]]:
    return [body_of(effect.data)["cursor"] for effect in effects if isinstance(effect, ToClient)]


def test_a_command_that_waits_for_an_answer_about_its_name_is_planned_by_the_new_policy() -> None:
    session = session_of(OLD)
    (question,) = sent(session.client_data(command(FIND_WARDS, 7)))
    assert NHS.encode() not in question
    use_settings(session, WIDER)
    entry = {"name": "wards", "type": "collection"}
    listed = {"id": Int64(0), "ns": "clinic.$cmd.listCollections", "firstBatch": [entry]}
    number = int.from_bytes(question[4:8], "little")
    (passed,) = sent(session.server_data(reply({"cursor": listed, "ok": 1.0}, number)))
    assert NHS.encode() not in passed
    assert opened(body_of(passed)["filter"]) == {"bed": NHS}


@pytest.mark.parametrize("new", [WIDER, WITHOUT, ELSEWHERE], ids=["wider", "without", "elsewhere"])
def test_replies_and_cursors_of_before_are_read(new: SessionSettings) -> None:
    session = session_of(OLD)
    session.client_data(command(FIND, 7))
    use_settings(session, new)
    (first,) = read(session.server_data(batch("firstBatch", 7, 5)))
    assert first["firstBatch"] == [{"nhs_number": NHS}]
    session.client_data(command(MORE, 8))
    (more,) = read(session.server_data(batch("nextBatch", 8, 0)))
    assert more["nextBatch"] == [{"nhs_number": NHS}]
