"""The taint test's commands through a whole session with keys: no marker is in what is written to the server.

What the planner decides is carried out here by the session itself, which also asks the server about names.
"""

import struct
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

import pytest
from bson import DatetimeMS, Int64, ObjectId, Regex, encode
from bson.binary import Binary

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import Mode, PolicySet, Subjects, follow
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
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope, Reveal
from sealwire.proxy.session.effects import Audit, Begun, Close, Done, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import request_id_of
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.drawer import Drawer
from tests.policies.taint.filters import tainted_filter
from tests.policies.taint.outcome import message_of
from tests.policies.taint.values import MARK, children, encoded, shown
from tests.policies.taint.world import ASKING, GROUNDS, PLAIN, POLICY, PROTECTED, VIEWS, covering
from tests.proxy.session.sides.test_questions import asked, find, told, view
from tests.proxy.session.test_shared import Catalogue, Right
from tests.proxy.session.verdicts import assert_parses
from tests.proxy.session.world import (
    OWN_ADDRESS,
    body_of,
    command,
    legacy_query,
    legacy_reply,
    material,
    reply,
    sealed,
    session,
    value_bytes,
    written,
)
from tests.retyped import retyped_within

EXAMPLES = 3_000
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)
KEYRING = Keyring(
    DataKey(name, number, 1, KeyState.ACTIVE, _CREATED, material(number, 1))
    for number, name in enumerate(POLICY.class_names, start=1)
)
CATALOGUE = Catalogue({**VIEWS, **dict.fromkeys((*PLAIN, *PROTECTED))})
_MOST_QUESTIONS = 60
"""Of one command: for names, and for the values of its fields, each in two batches."""
_ASKED_AT_A_TIME = 2000

IDENTIFYING = next(name for name, each in POLICY.classes.items() if each.mode is Mode.DETERMINISTIC)
AUDITED = replace(POLICY, subjects=Subjects(IDENTIFYING))
AUDIT = CommandAudit(CommandScope.ALL, PseudonymKey(bytes(32)).name_of)


ASKED = replace(ASKING, subjects=Subjects(IDENTIFYING))


def sent(case: Case, policy: PolicySet = AUDITED) -> tuple[bytes, bytes, str, int]:
    """What a session writes to the server for one command, and to the client before any reply to it.

    And what it tells the audit log, of a reply as well that says what the command has said; and how often it
    has asked for values.
    """
    shared = Shared(SessionSettings(policy, login_required=False, audit=AUDIT), KEYRING)
    talk = Session(shared, Topology(OWN_ADDRESS, {}))
    effects = talk.client_data(message_of(case))
    to_server = to_client = b""
    told, asked_values, name = "", 0, ""
    for _ in range(_MOST_QUESTIONS):
        data = written(effects, ToServer)
        to_server += data
        told += " ".join(repr(each) for each in effects if isinstance(each, Audit | Begun | Done))
        to_client += written(effects, ToClient)
        question = body_of(data) if data else {}
        if _asks_for_values(question):
            asked_values += 1
            name = _class_asked(question, policy) or name
            answer = _values_of(name, question)
            effects = talk.server_data(reply(answer, struct.unpack_from("<i", data, 4)[0]))
            continue
        if "listCollections" not in question:
            if data:
                echo = reply({"cursor": {"firstBatch": [question], "id": 1}, "ok": 1}, request_id_of(data))
                told += " ".join(
                    repr(each) for each in talk.server_data(echo) if isinstance(each, Audit | Done)
                )
            return to_server, to_client, told, asked_values
        answer = CATALOGUE.answer(question, Right.ALL, set())
        effects = talk.server_data(reply(answer, struct.unpack_from("<i", data, 4)[0]))
    raise AssertionError("a session that never stops asking")


def _asks_for_values(question: dict[str, Any]) -> bool:
    """Whether Sealwire asks by itself, or goes on to ask."""
    cursor = question.get("cursor")
    amount = cursor.get("batchSize") if isinstance(cursor, dict) else question.get("batchSize")
    return bool(amount == _ASKED_AT_A_TIME)


def _class_asked(question: dict[str, Any], policy: PolicySet) -> str:
    """Whose values are asked for; empty where the next batch is."""
    if "getMore" in question:
        return ""
    tree = policy.covered(f"{question['$db']}.{question['aggregate']}")
    assert tree is not None
    node = follow(tree, _path_asked(question).encode())
    assert node is not None
    assert node.leaf is not None
    return node.leaf.name


def _path_asked(question: dict[str, Any]) -> str:
    """Where the values lie, by groups, or of a random class by documents."""
    last = question["pipeline"][-1]
    return str(last["$group"]["_id"][1:] if "$group" in last else next(iter(last["$project"])))


def _values_of(name: str, question: dict[str, Any]) -> dict[str, Any]:
    """Two batches with the value of a class, alone and among others."""
    if name == "secret":
        found: Any = envelope_of(name)
        for part in reversed(_path_asked(question).split(".")):
            found = {part: found}
        return {"cursor": {"firstBatch": [found], "id": Int64(0), "ns": "clinic.patients"}, "ok": 1.0}
    batch, cursor_id = ("nextBatch", 0) if "getMore" in question else ("firstBatch", 5)
    documents = [{"_id": [envelope_of(name), None]}, {"_id": envelope_of(name)}, {"_id": None}]
    return {"cursor": {batch: documents, "id": Int64(cursor_id), "ns": "clinic.patients"}, "ok": 1.0}


def asking_case(number: int) -> Case:
    """A read with a condition that needs a question, often beside other conditions."""
    d = Drawer(Random(number))
    d.ground = GROUNDS["patients"]
    text = d.text_marker()
    condition = d.pick(
        (
            *({d.pick(("$gt", "$gte", "$lt", "$lte")): d.marker()} for _ in range(3)),
            {"$gt": d.scalar_marker(), "$lte": d.scalar_marker()},
            *({"$regex": text, "$options": "i"}, {"$regex": Regex(text)}, Regex(f"^{text}", "i")),
            *({"$in": [Regex(text), d.marker()]}, {"$regex": text, "$gt": text}, {"$bitsAllSet": [1]}),
            *({"$mod": [2, d.scalar_marker()]}, {"$elemMatch": {"$regex": text}}),
            *(d.marker(), {"$ne": d.scalar_marker()}, {"$nin": [text, Regex(text)]}, {"$not": {"$gt": text}}),
        )
    )
    query: Any = {d.pick(d.ground.paths): condition}
    if d.chance(0.4):
        query = {d.pick(("$and", "$or", "$and")): [query, tainted_filter(d)]}
    body = d.pick(
        (
            {"find": "patients", "filter": query},
            {"count": "patients", "query": query},
            {"distinct": "patients", "key": "nhs_number", "query": query},
            {"aggregate": "patients", "pipeline": [{"$match": query}], "cursor": {}},
            {"explain": {"find": "patients", "filter": query}},
            {"update": "patients", "updates": [{"q": query, "u": {"$set": {"ward": "a"}}}]},
            {"delete": "patients", "deletes": [{"q": query, "limit": d.pick((0, 1))}]},
        )
    )
    return Case({**body, "$db": "clinic"}, {}, frozenset())


def test_what_is_asked_about_is_not_written_to_the_server() -> None:
    """Neither operands and patterns, nor values that the server was asked for and that were opened."""
    seed = chosen_seed(3) * 10**9
    found: Tally[str] = Tally()
    for number in range(seed, seed + EXAMPLES):
        case = asking_case(number)
        to_server, to_client, told, asked_values = sent(case, ASKED)
        shows = f"case {number}: {shown(case.whole)} {shown(case.sequences)}"
        for mark in (MARK, *MARKERS.values()):
            assert mark not in to_server, shows
            assert mark not in told.encode() or mark in case_names(case), shows
            assert mark not in to_client or mark in case_names(case), shows
        found["asked"] += asked_values > 0
        found["answered"] += asked_values > 0 and b"Sealwire refused" not in to_client
    assert found["asked"] > EXAMPLES / 5, found
    assert found["answered"] > EXAMPLES / 10, found


def test_no_marker_is_written_to_the_server() -> None:
    seed = chosen_seed(1) * 10**9
    passed = recorded = 0
    for number in range(seed, seed + EXAMPLES):
        case = draw_case(number)
        to_server, to_client, told, _ = sent(case)
        recorded += "CommandRecord" in told
        # an error names no value either
        assert MARK not in told.encode() or MARK in case_names(case), f"case {number}: {shown(case.whole)}"
        assert MARK not in to_server, f"case {number}: {shown(case.whole)} {shown(case.sequences)}"
        # an error names no value either
        assert MARK not in to_client or MARK in case_names(case), f"case {number}: {shown(case.whole)}"
        passed += bool(to_server) and not to_client
    assert passed > EXAMPLES / 10
    assert recorded > EXAMPLES / 10


def case_names(case: Case) -> bytes:
    """The names in a command, which an error may name where they are unknown."""
    return f"{_names(case.whole)} {_names(case.sequences)}".encode()


def _names(value: object) -> str:
    return " ".join(f"{name} {_names(inner)}" for name, inner in children(value))


ROLE_EXAMPLES: Final = 2_500
PLANS: Final = 4_000
_MOST_ROLE_QUESTIONS: Final = 20

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
    for _ in range(_MOST_ROLE_QUESTIONS):
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
    for number in range(seed, seed + ROLE_EXAMPLES):
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
    assert found["sent"] > ROLE_EXAMPLES / 20, found
    assert found["shown"] > ROLE_EXAMPLES / 100, found
    assert found["role"] > ROLE_EXAMPLES / 20, found


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


_LOGIN = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=u,r=x", "db": "admin"}
_COMMANDS: dict[str, dict[str, Any]] = {
    "hello": {
        "hello": 1,
        "compression": ["zlib"],
        "speculativeAuthenticate": _LOGIN,
        "client": {"driver": {"name": "d"}},
        "$db": "admin",
    },
    "saslStart": {**_LOGIN, "$db": "admin"},
    "getMore": {"getMore": Int64(5), "collection": "patients", "$db": "clinic"},
    "killCursors": {"killCursors": "patients", "cursors": [Int64(5)], "$db": "clinic"},
    "find": find("patients"),
    "a name to be asked for": find("shown"),
    "an unknown command": {"unheardOf": "patients", "$db": "clinic"},
}
_HELLO = {
    "ok": 1.0,
    "me": "a:1",
    "primary": "a:1",
    "hosts": ["a:1"],
    "passives": [],
    "compression": ["zlib"],
    "maxMessageSizeBytes": 48_000_000,
}
_FOUND = {"cursor": {"firstBatch": [{"a": sealed("nhs", "x"), "b": [{"c": 1}]}], "id": Int64(0)}, "ok": 1.0}


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_command_settles(name: str) -> None:
    for body in retyped_within(_COMMANDS[name]):
        for message in (command(body), legacy_query(body)):
            effects = session().client_data(message)
            assert effects
            assert_parses(written(effects, ToServer))


def test_a_reply_to_hello_settles() -> None:
    for body in retyped_within(_HELLO):
        for question, answer in (
            (command({"hello": 1, "$db": "admin"}), reply(body)),
            (legacy_query({"isMaster": 1}), legacy_reply(body)),
        ):
            talk = session()
            talk.client_data(question)
            assert any(isinstance(effect, ToClient | Close) for effect in talk.server_data(answer))


def test_a_reply_to_find_settles() -> None:
    for body in retyped_within(_FOUND):
        talk = session()
        talk.client_data(command(find("patients")))
        effects = talk.server_data(reply(body))
        assert any(isinstance(effect, ToClient | Close) for effect in effects)
        assert_parses(written(effects, ToClient))


def test_an_answer_about_a_name_settles_the_command_that_waits_for_it() -> None:
    definition = view("shown", "patients", {"$match": {"nhs_number": "x"}}, {"$unset": ["visits"]})
    body = {"cursor": {"id": Int64(0), "ns": "clinic.c", "firstBatch": [definition]}, "ok": 1.0}
    question = asked("shown", 1)
    for other in retyped_within(body):
        talk = session()
        assert written(talk.client_data(command(find("shown"), 70)), ToServer) == question
        effects = talk.server_data(reply(other, 1))
        assert any(isinstance(effect, ToServer | ToClient | Close) for effect in effects)
    talk = session()
    talk.client_data(command(find("shown"), 70))
    assert written(talk.server_data(told(definition, response_to=1)), ToServer)
