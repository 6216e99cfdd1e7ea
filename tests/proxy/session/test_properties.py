"""The rules of the core as properties over generated messages."""

import base64
import struct
from collections import Counter as Tally
from collections.abc import Iterable
from random import Random
from typing import Any

import bson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sealwire.crypto.envelope import ENCRYPTABLE_TYPES, SUBTYPE
from sealwire.proxy.session.effects import Audit, Close, Count, Effect, PlaintextMet, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.raw_bson import elements, validate
from tests.bson_types import BsonType
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.commands import draw_case
from tests.policies.taint.outcome import message_of
from tests.policies.taint.values import MARK
from tests.policies.taint.world import POLICY as TAINTED
from tests.proxy.session.test_taint import KEYRING as TAINTED_KEYS
from tests.proxy.session.test_taint import case_names
from tests.proxy.session.world import (
    OWN_ADDRESS,
    command,
    decoded,
    encoded,
    envelope,
    reply,
    sections,
    session,
    written,
)
from tests.strategies import MadeSequence, bson_documents, chunkings, made_op_msg, python_documents
from tests.support.rows import rows
from tests.wire.corpus import VALID, binary, document, element, string

PATIENTS = element(BsonType.STRING, b"insert", string(b"patients"))
CLINIC = element(BsonType.STRING, b"$db", string(b"clinic"))
OTHER = element(BsonType.STRING, b"$db", string(b"other"))
FIND = command({"find": "patients", "$db": "clinic"})
FLAGS = st.sampled_from([0, 1, 1 << 16, 1 << 20 | 1])


def insert(
    documents: Iterable[bytes], *, sequence: bool = True, flags: int = 0, request_id: int = 1
) -> bytes:
    """An insert into the protected collection, of documents that are bytes already."""
    if sequence:
        sections = (None, MadeSequence(b"documents", tuple(documents)))
        return made_op_msg(document(PATIENTS, CLINIC), sections, flags, request_id).message
    items = [element(BsonType.OBJECT, b"%d" % n, each) for n, each in enumerate(documents)]
    array = element(BsonType.ARRAY, b"documents", document(*items))
    return made_op_msg(document(PATIENTS, array, CLINIC), (None,), flags, request_id).message


def stored(message: bytes) -> bytes:
    """What the server gets for a message of the client's; it must not be refused."""
    effects = session().client_data(message)
    assert not any(isinstance(effect, ToClient | Close) for effect in effects), effects
    return written(effects, ToServer)


def answered(message: bytes, find: bytes = FIND) -> bytes:
    """What the client gets for a reply of the server's."""
    talk = session()
    talk.client_data(find)
    effects = talk.server_data(message)
    return written(effects, ToClient)


# An untouched message is forwarded bit-exact


@given(bson_documents(), bson_documents(), FLAGS)
def test_an_unprotected_message_is_forwarded_bit_exact(one: bytes, other: bytes, flags: int) -> None:
    name = element(BsonType.STRING, b"insert", string(b"patients"))
    body = document(name, element(BsonType.OBJECT, b"x", one), OTHER)
    message = made_op_msg(body, (MadeSequence(b"documents", (one, other)), None), flags).message
    assert stored(message) == message


@given(bson_documents(), st.lists(bson_documents(), max_size=2), FLAGS)
def test_a_reply_without_envelopes_is_forwarded_bit_exact(body: bytes, more: list[bytes], flags: int) -> None:
    sections = (None, MadeSequence(b"nothing-has-this-name", tuple(more)))
    message = made_op_msg(body, sections, flags, 9, 1).message
    assert answered(message) == message


@given(st.lists(bson_documents(), min_size=1, max_size=3), st.booleans(), FLAGS)
def test_an_insert_without_covered_values_is_forwarded_bit_exact(
    documents: list[bytes], sequence: bool, flags: int
) -> None:
    below = [document(element(BsonType.OBJECT, b"uncovered", each)) for each in documents]
    message = insert(below, sequence=sequence, flags=flags)
    assert stored(message) == message


# A rewritten document differs only in what was spliced


@st.composite
def _documents(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A document in clear and as it must be stored: covered fields between others, at two depths."""
    plain, sealed = [], []
    for _ in range(draw(st.integers(0, 5))):
        name, kind, value = draw(_FIELDS)
        if kind is None:
            raw = element(BsonType.OBJECT, name, value)
            plain.append(raw)
            sealed.append(raw)
            continue
        clear = element(kind, name, value)
        content = envelope(_CLASSES[name], bson.decode(document(element(kind, b"a", value)))["a"])
        hidden = element(BsonType.BIN_DATA, name, binary(SUBTYPE, content))
        if name == b"email":
            clear, hidden = (element(BsonType.OBJECT, b"contact", document(each)) for each in (clear, hidden))
        plain.append(clear)
        sealed.append(hidden)
    return document(*plain), document(*sealed)


_CLASSES = {b"nhs_number": "nhs", b"email": "nhs", b"visits": "visits"}
_TEXT = st.text(max_size=20).map(str.encode).map(string)
_FIELDS = st.one_of(
    st.tuples(st.sampled_from([b"nhs_number", b"email"]), st.just(int(BsonType.STRING)), _TEXT),
    st.tuples(st.just(b"visits"), st.just(int(BsonType.INT)), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([b"a", b"", b"x$", b"nhs_numbe", b"z"]), st.none(), bson_documents()),
)


@given(st.lists(_documents(), min_size=1, max_size=3), st.booleans(), FLAGS)
def test_a_rewritten_message_differs_in_the_spliced_elements_and_lengths_only(
    pairs: list[tuple[bytes, bytes]], sequence: bool, flags: int
) -> None:
    plain, sealed = zip(*pairs, strict=True)
    message, wanted = (insert(each, sequence=sequence, flags=flags) for each in (plain, sealed))
    assert stored(message) == wanted


# How the stream was cut never shows


STREAM = [
    command({"hello": 1, "compression": ["zlib"], "$db": "admin"}, 1),
    command({"insert": "patients", "$db": "clinic"}, 2, after={"documents": [{"nhs_number": "x"}, {}]}),
    command({"find": "patients", "filter": {"nhs_number": {"$gt": "x"}}, "$db": "clinic"}, 3, flags=1),
    command({"ping": 1, "$db": "admin"}, 4),
]
ANSWERS = [
    reply({"hosts": ["a:1"], "ok": 1.0}, 1, 51),
    reply({"n": 1, "ok": 1.0}, 2, 52, flags=1),
    reply({"value": {"x": bson.Binary(envelope("nhs", "x"), SUBTYPE)}}, 4, 53),
]
BROKEN = [
    b"",
    bytes(16),
    command({"ping": 1, "$db": "x"}, 4),
    struct.pack("<iiii", 16, 1, 0, 2013),
    b"\x11\0\0\0",
]


def run(chunks: list[bytes], answers: list[bytes]) -> list[Effect]:
    talk = session()
    effects = [effect for chunk in chunks for effect in talk.client_data(chunk)]
    return effects + [effect for chunk in answers for effect in talk.server_data(chunk)]


@given(chunkings(b"".join(STREAM)), chunkings(b"".join(ANSWERS)))
def test_one_chunk_is_as_good_as_many(asked: list[bytes], answers: list[bytes]) -> None:
    assert run(asked, answers) == run([b"".join(STREAM)], [b"".join(ANSWERS)])


def test_one_chunk_is_as_good_as_single_bytes() -> None:
    single = ([bytes([byte]) for byte in b"".join(part)] for part in (STREAM, ANSWERS))
    effects = run(*single)
    assert effects == run(STREAM, ANSWERS)
    assert len(written(effects, ToServer)) > sum(map(len, STREAM[1:2]))
    assert not any(isinstance(effect, Close) for effect in effects)


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_stream_ends_alike_and_one_chunk_passes_on_no_more_than_single_bytes(broken: bytes) -> None:
    data = b"".join([*STREAM, broken])
    whole = run([data], [])
    bytewise = run([bytes([byte]) for byte in data], [])
    assert whole[-1] == bytewise[-1]
    assert written(bytewise, ToServer).startswith(written(whole, ToServer))


# Every BSON type survives


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("sequence", [True, False])
def test_an_uncovered_value_of_any_type_survives_byte_for_byte(name: str, sequence: bool) -> None:
    data = VALID[name]
    if name.startswith("deep"):
        assert validate(data, 0, len(data)) == len(data)
        return  # as deep as a document may be, and not one level deeper below another
    inner = element(BsonType.OBJECT, b"uncovered", data)
    covered = element(BsonType.STRING, b"nhs_number", string(b"x"))
    hidden = element(BsonType.BIN_DATA, b"nhs_number", binary(SUBTYPE, envelope("nhs", "x")))
    message = insert([data, document(inner, covered)], sequence=sequence)
    assert stored(message) == insert([data, document(inner, hidden)], sequence=sequence)


def _single_values() -> dict[str, tuple[int, bytes]]:
    found = {}
    for name, data in VALID.items():
        for each in elements(data, 0):
            found[name] = (each.kind, data[each.value : each.end])
            break
    return found


SINGLES = _single_values()


def through_random_class(kind: int, value: bytes, name: bytes = b"notes") -> None:
    """A value goes to the server as one envelope, and comes back as it was."""
    plain = document(element(kind, name, value))
    there = dict(sections(stored(insert([plain]))))["documents"][0]
    (field,) = elements(there, 0)
    assert (field.kind, there[field.value + 4]) == (BsonType.BIN_DATA, SUBTYPE)
    batch = document(element(BsonType.OBJECT, b"0", there))
    clear = document(element(BsonType.OBJECT, b"0", plain))
    assert answered(reply(document(element(4, b"firstBatch", batch)))) == reply(
        document(element(4, b"firstBatch", clear))
    )


# Refused: the server puts its own time in the place of an empty timestamp.
UNSTORABLE = {"timestamp zero"}
STORABLE = [
    name for name, (kind, _) in SINGLES.items() if kind in ENCRYPTABLE_TYPES and name not in UNSTORABLE
]


@pytest.mark.parametrize("name", STORABLE)
def test_a_covered_value_of_any_encryptable_type_survives_byte_for_byte(name: str) -> None:
    through_random_class(*SINGLES[name])


def test_the_corpus_has_every_encryptable_type() -> None:
    assert {kind for kind, _ in SINGLES.values()} >= ENCRYPTABLE_TYPES


@given(bson_documents(), st.sampled_from([BsonType.OBJECT, BsonType.ARRAY]))
def test_a_covered_document_survives_byte_for_byte(data: bytes, kind: int) -> None:
    # an array with null in it is refused: `{field: null}` would not find its ciphertext
    nulls = {BsonType.NULL, BsonType.UNDEFINED}
    assume(kind == BsonType.OBJECT or nulls.isdisjoint(found.kind for found in elements(data, 0)))
    through_random_class(kind, data)


@pytest.mark.parametrize("name", SINGLES)
@rows("field", "visits", "total", "weight", "born", "ref", "photo", "smoker", "nhs_number")
def test_a_deterministic_class_takes_a_value_or_refuses_it_and_never_changes_what_it_means(
    name: str, field: str
) -> None:
    kind, value = SINGLES[name]
    plain = document(element(kind, field.encode(), value))
    effects = session().client_data(insert([plain]))
    there = written(effects, ToServer)
    if not there:
        refused = any(isinstance(effect, Audit) and effect.reason == "type" for effect in effects)
        assert refused or (name.startswith("deep") and isinstance(effects[-1], Close))
        return
    hidden = dict(sections(there))["documents"][0]
    clear = dict(sections(answered(reply(hidden))))[""][0]
    (back,) = elements(clear, 0)
    if (back.kind, clear[back.value : back.end]) != (kind, value):
        # another encoding: of an equal number, of a symbol's text, of values inside an array
        assert (kind, back.kind) in _EQUAL_ENCODINGS
        assert _comparable(decoded(clear)[field]) == _comparable(decoded(plain)[field])


_NUMBERS = (BsonType.INT, BsonType.LONG, BsonType.DOUBLE, BsonType.DECIMAL)
_EQUAL_ENCODINGS = {(BsonType.SYMBOL, BsonType.STRING), (BsonType.ARRAY, BsonType.ARRAY)} | {
    (one, other) for one in _NUMBERS for other in _NUMBERS
}


def _comparable(value: Any) -> Any:
    return value.to_decimal() if isinstance(value, bson.Decimal128) else value


# Round trip and canary


@settings(max_examples=60)
@given(python_documents(), st.text(), st.integers(-(2**31), 2**31 - 1), python_documents())
def test_what_was_inserted_is_found(uncovered: Any, text: str, number: int, secret: Any) -> None:
    inserted = encoded(
        {"u": uncovered, "nhs_number": text, "visits": number, "notes": secret, "tags": [text, None]}
    )
    there = dict(sections(stored(insert([inserted]))))["documents"][0]
    assert there != inserted

    def batch(item: bytes) -> bytes:
        return reply(document(element(4, b"nextBatch", document(element(3, b"0", item)))), flags=1)

    assert answered(batch(there)) == batch(inserted)


EXAMPLES = 3_000
TEXT = MARK.decode()


def coded_base64(pad: int) -> bytes:
    """What does not depend on the bytes around the mark where so many come before it."""
    coded = base64.b64encode(bytes(pad) + MARK)
    return coded[-(-8 * pad // 6) : 8 * (pad + len(MARK)) // 6]


CODINGS = (
    *(MARK, TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be"), MARK.hex().encode()),
    *(coded_base64(pad) for pad in range(3)),
)


def test_no_plaintext_leaves_in_any_effect_and_what_leaves_is_well_formed() -> None:
    seed = chosen_seed(4) * 10**9
    found: Tally[str] = Tally()
    for number in range(seed, seed + EXAMPLES):
        case, names = draw_case(number), b""
        message = message_of(case, Random(number).choice([0, 0, 1, 2, 3, 1 << 16]))
        found["marked"] += MARK in message
        shared = Shared(SessionSettings(TAINTED, login_required=False), TAINTED_KEYS)
        for effect in Session(shared, Topology(OWN_ADDRESS, {})).client_data(message):
            if isinstance(effect, ToServer):
                found["passed"] += 1
                parsed = parse_op_msg(effect.data)
                validate(effect.data, parsed.body, parsed.end)
            else:
                # an error may name a field as the client did
                names = case_names(case)
                found["refused"] += isinstance(effect, Audit)
            left = shown_outside(effect)
            assert not [mark for mark in CODINGS if mark in left and mark not in names], f"case {number}"
    assert min(found["marked"] / 2, found["passed"], found["refused"]) > EXAMPLES / 5, found


def shown_outside(effect: Effect) -> bytes:
    """What the server, a log, an audit or a metric sees; of a reply to the client, its error text."""
    match effect:
        case ToServer(data) | ToClient(data):
            return data
        case Close() | Audit() | Count() | PlaintextMet():
            return repr(effect).encode() + repr(effect).encode("unicode_escape")
        case _:
            return b""


def test_a_mark_is_found_in_each_of_its_codings() -> None:
    for shown in (MARK, TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be"), MARK.hex().encode()):
        assert any(mark in shown for mark in CODINGS)
    for lead in (b"", b"a", b"ab", b"abc"):
        coded = base64.b64encode(lead + MARK + b"more")
        assert any(mark in coded for mark in CODINGS)
