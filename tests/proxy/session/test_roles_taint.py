"""Random roles, commands and replies: no value of a class reaches a client whose role does not show it.

The commands are those of the taint test. Replies hold, wherever an envelope can stand, values of every class,
each with a marker of its own. What the client gets is searched by content of bytes. And under a role that may
do everything, every command is planned as it is without roles.
"""

import struct
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any, Final

from bson import DatetimeMS, Int64, ObjectId, encode
from bson.binary import Binary

from sealwire.crypto.cipher import ValueCipher
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Plan
from sealwire.policies.roles.role import (
    CLEAR,
    DENIED,
    ClassAccess,
    Disclosure,
    Level,
    Mask,
    Rights,
    Role,
    Roles,
    Wildcards,
)
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import Reveal, SessionSettings, Shared
from sealwire.wire.errors import ProtocolError
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.outcome import message_of
from tests.policies.taint.values import MARK, encoded, shown
from tests.policies.taint.world import POLICY, covering
from tests.proxy.session.test_shared_names import Right
from tests.proxy.session.test_taint import CATALOGUE, KEYRING
from tests.proxy.session.world import OWN_ADDRESS, body_of, material, reply, value_bytes, written

EXAMPLES: Final = 2_500
PLANS: Final = 4_000
_MOST_QUESTIONS: Final = 20

VALUES: Final[dict[str, Any]] = {
    "nhs": "mArKnhsmArKnhs",
    "postcode": "mArKpost SW1A 1AA",
    "visits": int.from_bytes(b"vIsI", "little"),
    "big": Int64(int.from_bytes(b"bIgBiGb", "little")),
    "ratio": struct.unpack("<d", b"rAtIoRaT")[0],
    "born": DatetimeMS(int.from_bytes(b"bOrN\x01", "little")),
    "ref": ObjectId(b"oBjEcTrEf-id"),
    "blob": Binary(b"bLoBbLoB"),
    "flag": True,
    "age": int.from_bytes(b"aGe", "little"),
    "day": DatetimeMS(int.from_bytes(b"dAyD\x01", "little")),
    "secret": {"note": "sEcReTnOtE", "list": ["sEcReTnOtE"]},
}
MARKERS: Final[dict[str, bytes]] = {
    "nhs": b"mArKnhs",
    "postcode": b"mArKpost",
    "visits": b"vIsI",
    "big": b"bIgBiGb",
    "ratio": b"rAtIoRaT",
    "born": b"bOrN",
    "ref": b"oBjEcTrEf",
    "blob": b"bLoBbLoB",
    "age": b"aGe",
    "day": b"dAyD",
    "secret": b"sEcReTnOtE",
}
"""The bytes by which a value is found; a flag has none of its own."""


def envelope_of(name: str) -> Binary:
    number = POLICY.class_names.index(name) + 1
    cipher = ValueCipher(material(number, 1), number, 1)
    encrypt = cipher.encrypt_randomly if name == "secret" else cipher.encrypt_deterministically
    return Binary(encrypt(*value_bytes(VALUES[name])), 0x80)


def random_access(random: Random) -> ClassAccess:
    levels = (CLEAR, Disclosure(Level.MASKED, random.choice([*Mask])), Disclosure(Level.CIPHERTEXT), DENIED)
    return ClassAccess(random.choice(levels), filters=random.random() < 0.6, writes=random.random() < 0.6)


def random_policy(random: Random) -> PolicySet:
    named = {name: random_access(random) for name in POLICY.class_names if random.random() < 0.8}
    role = Role(
        "r",
        (),
        Wildcards(("CN=r",), are_subjects=True),
        named,
        random_access(random),
        deletes=random.random() < 0.5,
    )
    return replace(POLICY, roles=Roles((role,), tuple(named)))


def random_document(random: Random, names: list[str], depth: int = 0) -> dict[str, Any]:
    """Values of these classes at any names, in documents and arrays."""
    found: dict[str, Any] = {"_id": 1}
    for name in names:
        value: Any = envelope_of(name)
        if random.random() < 0.3:
            value = [value, {"x": value}]
        if random.random() < 0.3 and depth < 3:
            value = random_document(random, [name], depth + 1)
        found[random.choice(("a", "nhs_number", "_id", "0", "notes", "keyValue")) + str(len(found))] = value
    return found


def random_answer(random: Random, names: list[str]) -> dict[str, Any]:
    """A reply as servers give them: batches, one document, distinct values, errors."""
    document = random_document(random, names)
    kind = random.randrange(6)
    if kind == 0:
        return {"value": document, "ok": 1.0}
    if kind == 1:
        return {"values": [envelope_of(name) for name in names], "ok": 1.0}
    duplicate = {"code": 11000, "errmsg": "E11000 x dup key: { a: 1 }", "keyValue": document}
    if kind == 2:
        return {"ok": 0.0, **duplicate}
    if kind == 3:
        return {"n": 0, "writeErrors": [{"index": 0, **duplicate}], "ok": 1.0}
    batch = random.choice(("firstBatch", "nextBatch"))
    event = {"_id": {}, "operationType": "update", "updateDescription": {"updatedFields": {"a.b": document}}}
    documents = [document, event] if kind == 4 else [document] * 2
    return {"cursor": {batch: documents, "id": Int64(0), "ns": "clinic.patients"}, "ok": 1.0}


def conversation(case: Case, policy: PolicySet, random: Random, names: list[str]) -> tuple[bytes, bytes]:
    """What goes to the server, and what the client gets when it answers with values of these classes."""
    reveal = random.choice(list(Reveal))
    talk = Session(
        Shared(SessionSettings(policy, login_required=False, reveal=reveal), KEYRING), Topology(OWN_ADDRESS)
    )
    talk.certified("CN=r")
    to_server = to_client = b""
    effects = talk.client_data(message_of(case))
    for _ in range(_MOST_QUESTIONS):
        data = written(effects, ToServer)
        to_client += written(effects, ToClient)
        if not data:
            break
        is_question = struct.unpack_from("<i", data, 12)[0] == 2013 and _is_question(data, case)
        if not is_question:
            to_server += data
            answer = random_answer(random, names)
            effects = talk.server_data(reply(answer, struct.unpack_from("<i", data, 4)[0]))
            to_client += written(effects, ToClient)
            break
        answer = CATALOGUE.answer(body_of(data), Right.ALL, set())
        effects = talk.server_data(reply(answer, struct.unpack_from("<i", data, 4)[0]))
    return to_server, to_client


def _is_question(data: bytes, case: Case) -> bool:
    return "listCollections" not in case.body and "listCollections" in body_of(data)


def leaks(policy: PolicySet, names: list[str], to_client: bytes) -> Iterator[str]:
    rights = rights_of(policy)
    for name in names:
        level = rights.access(name).read.level
        if level is not Level.CLEAR and name in MARKERS and MARKERS[name] in to_client:
            yield f"{name} is {level.name} and shown in clear"


def rights_of(policy: PolicySet) -> Rights:
    assert policy.roles is not None
    role = policy.roles.roles[0]
    return Rights(("r",), role.classes, role.others, deletes=role.deletes)


def sent_without_right(policy: PolicySet, to_server: bytes) -> Iterator[str]:
    """Classes of envelopes that go to the server for a client that may neither filter nor write."""
    rights = rights_of(policy)
    for number, name in enumerate(POLICY.class_names, 1):
        access = rights.access(name)
        marks = [b"\x80SW\x01%c%b" % (mode, number.to_bytes(4, "big")) for mode in (1, 2)]
        if not access.filters and not access.writes and any(mark in to_server for mark in marks):
            yield name


def test_no_value_reaches_who_may_not_see_it() -> None:
    seed = chosen_seed(1) * 10**9
    found: Tally[str] = Tally()
    for number in range(seed, seed + EXAMPLES):
        random = Random(number)
        case, policy = draw_case(number), random_policy(random)
        names = random.sample(POLICY.class_names, random.randint(1, 4))
        to_server, to_client = conversation(case, policy, random, names)
        told = f"case {number}: {shown(case.whole)} {shown(case.sequences)}"
        assert list(leaks(policy, names, to_client)) == [], told
        assert list(sent_without_right(policy, to_server)) == [], told
        assert MARK not in to_server, told
        found["sent" if to_server else "refused"] += 1
        found["shown"] += any(mark in to_client for mark in MARKERS.values())
        found["role"] += b"[role]" in to_client
    assert found["sent"] > EXAMPLES / 20, found
    assert found["shown"] > EXAMPLES / 100, found
    assert found["role"] > EXAMPLES / 20, found


ALL: Final = Rights(("all",), {}, ClassAccess(CLEAR, filters=True, writes=True))
_COVERED: Final = covering(POLICY)


def planned(case: Case, rights: Rights | None) -> object:
    try:
        plan = plan_command(POLICY, encoded(case.whole), 0, covered=_COVERED, rights=rights)
    except Refusal as refusal:
        return refusal.reason, refusal.path, refusal.rule
    except ProtocolError as error:
        return error.reason
    return _as_text(plan)


def _as_text(plan: Plan) -> object:
    edits = [(edit.element.start, edit.field_class.name, edit.use, edit.parents) for edit in plan.edits]
    puts = [(put.element.start, put.data, put.parents) for put in plan.replacements]
    return plan.command, plan.namespace, plan.protected, plan.reveals, edits, puts


def test_a_role_that_may_do_everything_changes_no_plan() -> None:
    seed = chosen_seed(2) * 10**9
    for number in range(seed, seed + PLANS):
        case = draw_case(number)
        assert planned(case, ALL) == planned(case, None), f"case {number}: {shown(case.whole)}"


def test_a_role_that_may_do_everything_changes_no_reply() -> None:
    policy = replace(
        POLICY,
        roles=Roles(
            (Role("all", (), Wildcards(("CN=r",), are_subjects=True), {}, ClassAccess(CLEAR, filters=True)),),
            (),
        ),
    )
    find = encode({"find": "patients", "$db": "clinic"})
    for number in range(300):
        answers = []
        for each in (policy, POLICY):
            random = Random(number)
            names = random.sample(POLICY.class_names, 3)
            talk = Session(
                Shared(SessionSettings(each, login_required=False), KEYRING), Topology(OWN_ADDRESS)
            )
            talk.certified("CN=r")
            talk.client_data(reply(find, 0, 1))
            answers.append(body_of(written(talk.server_data(reply(random_answer(random, names))), ToClient)))
        assert answers[0] == answers[1]
