"""Commands on record of clients who do not see all: what was opened counts, and persons are known."""

from typing import Any

import bson
import pytest

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Done, Effect, NeedKeys
from sealwire.proxy.session.records import CommandOutcome, CommandRecord, CommandResult
from sealwire.proxy.session.session import Session
from tests.proxy.session.role_world import ROLES_TEXT, asked, batch, session_as
from tests.proxy.session.world import (
    POLICY_TEXT,
    class_id_of,
    data_key,
    load_keys,
    reply,
    sealed,
    sealed_randomly,
    value_bytes,
)

POLICY = load_policy(POLICY_TEXT + ROLES_TEXT + b"subjects: {class: nhs}\n", "policy.yaml")
HIDING = load_policy(
    POLICY_TEXT
    + b"""
roles:
  auditor: {certificates: ["CN=clerk"], classes: {"*": {read: ciphertext}}}
subjects: {class: nhs}
""",
    "policy.yaml",
)


def named(path: str, kind: int, value: bytes) -> str:
    return f"{path}|{kind}|{value.hex()}"


PERSON = named("", *value_bytes("9434765919"))


def clerk(policy: Any = POLICY) -> Session:
    return session_as("CN=clerk", policy, audit=CommandAudit(CommandScope.PROTECTED, named))


def done(effects: list[Effect]) -> tuple[CommandRecord, CommandResult]:
    (found,) = (each for each in effects if isinstance(each, Done))
    return found.record, found.result


def document() -> dict[str, Any]:
    return {
        "nhs_number": sealed("nhs", "9434765919"),
        "visits": sealed("visits", 3),
        "notes": sealed_randomly("secret", "x"),
    }


def test_a_mask_is_shown_a_ciphertext_is_not_read_and_the_person_is_known() -> None:
    talk = clerk()
    asked(talk, {"find": "patients"})
    record, result = done(talk.server_data(reply(batch(document()))))
    assert record.role == "clerk"
    assert result.read == {"nhs": 1, "visits": 1}
    assert (result.subjects, result.unknown) == ((PERSON,), 0)


@pytest.mark.parametrize("length", [1, 3000])
def test_persons_are_known_where_their_identifiers_are_hidden(length: int) -> None:
    talk = clerk(HIDING)
    asked(talk, {"find": "patients"})
    filling = [document() | {"filling": "x" * 700} for _ in range(length)]
    message = reply(batch(*filling))
    effects: list[Effect] = []
    for start in range(0, len(message), 60_000):
        effects += talk.server_data(message[start : start + 60_000])
    _, result = done(effects)
    assert (result.read, result.documents) == ({}, length)
    assert (result.subjects, result.unknown) == ((PERSON,), 0)


def test_what_breaks_the_glass_says_so() -> None:
    talk = clerk()
    comment = {"sealwire": {"breakGlass": "unconscious"}}
    asked(talk, {"find": "patients", "comment": comment})
    record, result = done(talk.server_data(reply(batch(document()))))
    assert (record.glass, record.role) == ("unconscious", "clerk,emergency")
    assert result.read == {"nhs": 1, "visits": 1, "secret": 1}


def test_a_reply_that_roles_do_not_show_is_withheld() -> None:
    talk = clerk()
    asked(talk, {"find": "patients"})
    shown = {"smoker": sealed("smoker", True), "_id": bson.ObjectId()}
    _, result = done(talk.server_data(reply(batch(shown))))
    assert (result.outcome, result.reason) == (CommandOutcome.WITHHELD, "role")


def test_persons_of_a_long_reply_that_waited_for_a_key_are_known_by_it() -> None:
    talk = clerk()
    asked(talk, {"find": "patients"})
    filling = [{"nhs_number": sealed("nhs", "9434765919", 2), "filling": "x" * 700} for _ in range(3000)]
    message = reply(batch(*filling))
    effects: list[Effect] = []
    for start in range(0, len(message), 60_000):
        effects += talk.server_data(message[start : start + 60_000])
    assert effects == [NeedKeys(((class_id_of("nhs"), 2),))]
    _, result = done(load_keys(talk, Keyring([data_key("nhs", 2)])))
    assert (result.read, result.documents) == ({"nhs": 3000}, 3000)
    assert (result.subjects, result.unknown) == ((PERSON,), 0)
