"""What documents that are put together show of others is counted from their envelopes, without a key."""

import random
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import MARKER
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.auditing.answers import MAX_DISTINCT, Gathered
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import (
    Audit,
    Begun,
    Close,
    CommandOutcome,
    CommandRecord,
    CommandResult,
    Done,
    Effect,
    NeedKeys,
)
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.proxy.session.role_world import ROLES_TEXT, asked, session_as
from tests.proxy.session.role_world import batch as batch_of
from tests.proxy.session.world import (
    KEYRING,
    OWN_ADDRESS,
    POLICY_TEXT,
    class_id_of,
    command,
    data_key,
    load_keys,
    reply,
    sealed,
    sealed_randomly,
    served_in_parts,
    session_of,
    value_bytes,
)
from tests.support.policies import policy_of

NHS = sealed("nhs", "1")
CLASS_ID = int.from_bytes(NHS[4:8], "big")
NAMES = {CLASS_ID: "nhs"}


def test_only_what_was_opened_counts_and_no_more_of_it() -> None:
    found = Gathered(NAMES)
    found.look(
        bson.encode({"a": NHS, "b": [sealed("nhs", "2"), {"c": NHS}], "d": sealed_randomly("secret", "n")}), 0
    )
    assert found.opened({"nhs": 9, "secret": 1}) == {"nhs": 2}
    assert found.opened({"nhs": 1}) == {"nhs": 1}
    assert found.opened({}) == {}
    assert found.elements == 2


def test_so_many_values_are_told_apart_and_no_more() -> None:
    found, many = Gathered(NAMES), MAX_DISTINCT + 5
    unlike = [bson.Binary(NHS[:-4] + each.to_bytes(4, "big"), MARKER[0]) for each in range(many)]
    found.look(bson.encode({"all": unlike}), 0)
    assert found.opened({"nhs": many}) == {"nhs": MAX_DISTINCT}


def test_of_classes_that_nobody_knows_nothing_is_kept() -> None:
    found = Gathered(NAMES)
    other = NHS[:4] + (CLASS_ID ^ 1).to_bytes(4, "big") + NHS[8:]
    found.look(bson.encode({"a": bson.Binary(other, MARKER[0])}), 0)
    assert found.opened({"nhs": 1, "": 1}) == {}


@pytest.mark.parametrize(
    ("depth", "document", "elements"),
    [(0, {"0": 1, "1": 2}, 0), (1, {"0": 1, "1": [5]}, 3), (1, {"name": 1, "x": [5]}, 1), (1, {}, 0)],
    ids=["fields", "array", "document", "empty"],
)
def test_parts_of_a_long_document_count_as_what_they_lie_in(
    depth: int, document: dict[str, object], elements: int
) -> None:
    found = Gathered(NAMES)
    found.run(bson.encode(document), depth)
    assert found.elements == elements


def test_what_is_malformed_or_deep_counts_as_far_as_it_goes() -> None:
    found = Gathered(NAMES)
    document = bson.encode({"a": [1], "b": bson.Binary(MARKER[1:] + b"short", MARKER[0])})
    found.look(document, 0)
    found.look(document.replace(b"\x030\0", b"\x990\0").replace(b"\x04a\0", b"\x99a\0"), 0)
    found.run(b"\x0c\0\0\0\x990\0\0\0\0\0\0", 1)
    raw = b"\x05\0\0\0\0"
    for _ in range(300):
        raw = (len(raw) + 8).to_bytes(4, "little") + b"\x040\0" + raw + b"\0"
    found.look(raw, 0)
    assert found.opened({"nhs": 1}) == {}
    assert 2 <= found.elements < 300


POLICY = load_policy(POLICY_TEXT, "policy.yaml")
FIND: dict[str, Any] = {"find": "patients", "$db": "clinic"}


def pair() -> tuple[Session, Session]:
    audit = CommandAudit(CommandScope.ALL)
    shared = Shared(SessionSettings(POLICY, login_required=False, audit=audit), KEYRING)
    return Session(shared, Topology(OWN_ADDRESS)), Session(shared, Topology(OWN_ADDRESS))


def batch(*documents: Any) -> dict[str, Any]:
    return {
        "cursor": {"firstBatch": list(documents), "id": bson.Int64(0), "ns": "clinic.patients"},
        "ok": 1.0,
    }


def read(effects: list[Effect]) -> list[dict[str, int]]:
    return [each.result.read for each in effects if isinstance(each, Done)]


def test_replies_between_the_parts_of_a_long_one_do_not_count_for_it() -> None:
    long, short = pair()
    long.client_data(command(FIND))
    documents = [{"nhs_number": sealed("nhs", f"{n}"), "filling": "x" * 900} for n in range(2000)]
    message = reply(batch(*documents))
    effects: list[Effect] = []
    told: list[dict[str, int]] = []
    for start in range(0, len(message), 100_000):
        effects += long.server_data(message[start : start + 100_000])
        short.client_data(command(FIND))
        told += read(short.server_data(reply(batch({"notes": sealed_randomly("secret", "n")}))))
    assert read(effects) == [{"nhs": 2000}]
    assert told == [{"secret": 1}] * len(told)
    assert len(told) > 10


def test_what_a_reply_that_failed_had_opened_counts_for_nobody() -> None:
    first, second = pair()
    broken = sealed("nhs", "1")
    broken = bson.Binary(broken[:-1] + bytes((broken[-1] ^ 1,)), broken.subtype)
    first.client_data(command(FIND))
    first.server_data(reply(batch({"nhs_number": sealed("nhs", "2"), "notes": broken})))
    second.client_data(command({"ping": 1, "$db": "admin"}))
    assert read(second.server_data(reply({"ok": 1}))) == [{}]
    second.client_data(command(FIND))
    assert read(second.server_data(reply(batch({"nhs_number": sealed("nhs", "3")})))) == [{"nhs": 1}]


def test_who_reads_on_with_anothers_cursor_does_not_say_its_purpose() -> None:
    ann, bob = pair()
    for each, user in ((ann, "ann@admin"), (bob, "bob@admin")):
        each._conversation.login.name_users((user,))
    ann.client_data(command(FIND | {"comment": "purpose=direct-care"}))
    cursor = {"firstBatch": [], "id": bson.Int64(7), "ns": "clinic.patients"}
    ann.server_data(reply({"cursor": cursor, "ok": 1.0}))
    more = {"getMore": bson.Int64(7), "collection": "patients", "$db": "clinic"}
    answer = {"cursor": {"nextBatch": [], "id": bson.Int64(7), "ns": "clinic.patients"}, "ok": 1.0}
    purposes = []
    for each in (bob, ann, bob):
        each.client_data(command(more))
        purposes += [
            done.record.purpose for done in each.server_data(reply(answer)) if isinstance(done, Done)
        ]
    assert purposes == ["", "direct-care", ""]


CLEAR_POLICY = policy_of(
    POLICY_TEXT + b"subjects: {class: nhs, links: {clinic.visits.p: clinic.patients._id}}\n"
)
COMMANDS: list[dict[str, Any]] = [
    {"find": "patients", "filter": {"nhs_number": "1"}},
    {"aggregate": "patients", "pipeline": [{"$match": {"visits": 3}}], "cursor": {}},
    {"getMore": bson.Int64(7), "collection": "patients"},
    {"distinct": "patients", "key": "nhs_number"},
    {"findAndModify": "patients", "query": {"nhs_number": "1"}, "remove": True},
    {"insert": "patients", "documents": [{"nhs_number": "1"}], "comment": "purpose=x"},
    {"update": "patients", "updates": [{"q": {"nhs_number": "1"}, "u": {"$set": {"visits": 1}}}]},
    {"explain": {"find": "patients", "filter": {"nhs_number": "1"}}},
]


def session(scope: CommandScope | None) -> Session:
    audit = None if scope is None else CommandAudit(scope, lambda path, kind, value: f"{path}{kind}{value!r}")
    return session_of(SessionSettings(CLEAR_POLICY, login_required=False, audit=audit))


def answers(documents: int, filling: int) -> list[dict[str, Any]]:
    shown = {
        "_id": 1,
        "nhs_number": sealed("nhs", "1"),
        "tags": [sealed("nhs", "2")],
        "notes": sealed_randomly("secret", "x"),
        "filling": "x" * filling,
    }
    batch = [shown] * documents
    return [
        {"cursor": {"firstBatch": batch, "id": bson.Int64(7), "ns": "clinic.patients"}, "ok": 1.0},
        {"cursor": {"nextBatch": batch, "id": bson.Int64(0), "ns": "clinic.patients"}, "ok": 1.0},
        {"values": [sealed("nhs", "1")] * documents, "ok": 1.0},
        {"value": shown, "ok": 1.0},
        {"n": 1, "ok": 1.0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]},
        {"ok": 0.0, "code": 5, "errmsg": "no"},
    ]


def seen(effects: list[Effect]) -> list[Effect]:
    return [each for each in effects if not isinstance(each, Begun | Done)]


def broken(message: bytes, chance: random.Random) -> bytes:
    """A message with some bytes changed behind its header."""
    data = bytearray(message)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        place = chance.randrange(21, len(data))
        data[place] = chance.choice((0, 1, 2, 3, 4, 5, 0xFF, chance.randrange(256)))
    return bytes(data)


@pytest.mark.parametrize("scope", [CommandScope.ALL, CommandScope.PROTECTED, CommandScope.WRITES])
@given(st.sampled_from(range(len(COMMANDS))), st.sampled_from(range(6)), st.integers(0, 2**32))
def test_client_and_server_see_the_same(scope: CommandScope, asked: int, told: int, seed: int) -> None:
    chance = random.Random(seed)
    request = command({**COMMANDS[asked], "$db": "clinic"})
    answer = broken(reply(answers(chance.randrange(4), chance.randrange(50))[told]), chance)
    quiet, loud = session(None), session(scope)
    assert seen(loud.client_data(request)) == seen(quiet.client_data(request))
    there, here = loud.server_data(answer), quiet.server_data(answer)
    assert seen(there) == seen(here)
    if not any(isinstance(each, Close | Audit | NeedKeys) for each in here) and scope is CommandScope.ALL:
        assert sum(isinstance(each, Done) for each in there) == 1


@pytest.mark.parametrize("seed", range(40))
def test_client_and_server_see_the_same_of_long_replies(seed: int) -> None:
    chance = random.Random(seed)
    request = command({**COMMANDS[seed % 5], "$db": "clinic"})
    answer = broken(reply(answers(400, 4000)[seed % 4]), chance)
    quiet, loud = session(None), session(CommandScope.PROTECTED)
    assert seen(loud.client_data(request)) == seen(quiet.client_data(request))
    for start in range(0, len(answer), 100_000):
        part = answer[start : start + 100_000]
        there, here = loud.server_data(part), quiet.server_data(part)
        assert seen(there) == seen(here)


ROLE_POLICY = load_policy(POLICY_TEXT + ROLES_TEXT + b"subjects: {class: nhs}\n", "policy.yaml")
HIDING = policy_of(
    POLICY_TEXT
    + b"""
roles:
  auditor: {certificates: ["CN=clerk"], classes: {"*": {read: ciphertext}}}
subjects: {class: nhs}
"""
)


def named(path: str, kind: int, value: bytes) -> str:
    return f"{path}|{kind}|{value.hex()}"


PERSON = named("", *value_bytes("9434765919"))


def clerk(policy: Any = ROLE_POLICY) -> Session:
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
    record, result = done(talk.server_data(reply(batch_of(document()))))
    assert record.role == "clerk"
    assert result.read == {"nhs": 1, "visits": 1}
    assert (result.subjects, result.unknown) == ((PERSON,), 0)


@pytest.mark.parametrize("length", [1, 3000])
def test_persons_are_known_where_their_identifiers_are_hidden(length: int) -> None:
    talk = clerk(HIDING)
    asked(talk, {"find": "patients"})
    filling = [document() | {"filling": "x" * 700} for _ in range(length)]
    message = reply(batch_of(*filling))
    effects = served_in_parts(talk, message, 60_000)
    _, result = done(effects)
    assert (result.read, result.documents) == ({}, length)
    assert (result.subjects, result.unknown) == ((PERSON,), 0)


def test_what_breaks_the_glass_says_so() -> None:
    talk = clerk()
    comment = {"sealwire": {"breakGlass": "unconscious"}}
    asked(talk, {"find": "patients", "comment": comment})
    record, result = done(talk.server_data(reply(batch_of(document()))))
    assert (record.glass, record.role) == ("unconscious", "clerk,emergency")
    assert result.read == {"nhs": 1, "visits": 1, "secret": 1}


def test_a_reply_that_roles_do_not_show_is_withheld() -> None:
    talk = clerk()
    asked(talk, {"find": "patients"})
    shown = {"smoker": sealed("smoker", True), "_id": bson.ObjectId()}
    _, result = done(talk.server_data(reply(batch_of(shown))))
    assert (result.outcome, result.reason) == (CommandOutcome.WITHHELD, "role")


def test_persons_of_a_long_reply_that_waited_for_a_key_are_known_by_it() -> None:
    talk = clerk()
    asked(talk, {"find": "patients"})
    filling = [{"nhs_number": sealed("nhs", "9434765919", 2), "filling": "x" * 700} for _ in range(3000)]
    message = reply(batch_of(*filling))
    effects = served_in_parts(talk, message, 60_000)
    assert effects == [NeedKeys(((class_id_of("nhs"), 2),))]
    _, result = done(load_keys(talk, Keyring([data_key("nhs", 2)])))
    assert (result.read, result.documents) == ({"nhs": 3000}, 3000)
    assert (result.subjects, result.unknown) == ((PERSON,), 0)
