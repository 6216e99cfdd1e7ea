"""Finding envelopes, and decrypting them where they lie."""

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Int64
from bson.code import Code
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import MARKER, SUBTYPE
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.data_key import KeyIds
from sealwire.keys.keyring.keyring import EnvelopeBatch, Keyring
from sealwire.policies.planning.plan import BY_NAMESPACE, CLOSED, WHOLE, Openings, as_text, from_text
from sealwire.policies.roles.role import CLEAR, DENIED, ClassAccess, Disclosure, Level, Mask, Rights
from sealwire.proxy.session.effects import ToClient
from sealwire.proxy.session.replies import ReadDenied
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.revealing.reveal import MAX_TOGETHER, AtPaths, Shown, holds_envelope, reveal
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.framing import LONG_BYTES
from sealwire.wire.op_msg import build_op_msg, parse_op_msg, sequence_documents
from sealwire.wire.raw_bson import MAX_DEPTH, elements, scope_document, validate
from tests.bson_types import BsonType
from tests.proxy.session.playbook import Playbook, client, pause, server, to_client, to_server
from tests.proxy.session.sides.test_questions import asked, told
from tests.proxy.session.test_contexts import World, inserted
from tests.proxy.session.test_contexts import batch as batch_of
from tests.proxy.session.world import (
    BATCHING,
    KEYRING,
    POLICY,
    body_of,
    command,
    data_key,
    envelope,
    reply,
    sealed,
    sealed_randomly,
    session,
    value_bytes,
)
from tests.strategies import bson_documents
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.wire.corpus import INVALID, VALID, binary, code_with_scope, document, element, int32, string

SEALED = sealed("nhs", "x")
MARKED = binary(SUBTYPE, b"SW...")
_SCOPED = BsonType.JAVASCRIPT_WITH_SCOPE
MARKED_ELEMENT = element(BsonType.BIN_DATA, b"hit", MARKED)


def opened(data: bytes) -> int:
    """How many envelopes are opened in one document; checks that these were all that there are."""

    def open_envelope(buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        assert buf[start:end].startswith(MARKER[1:])
        return BsonType.BOOL, b"\1"

    message = build_op_msg(1, 0, data)
    revealed, count = reveal(message, parse_op_msg(message), open_envelope)
    body = parse_op_msg(revealed).body
    validate(revealed, body, len(revealed))
    assert slow_places(revealed[body:]) == []
    assert holds_envelope(data, [0]) == (count > 0)
    return count


def slow_places(data: bytes, start: int = 0) -> list[int]:
    """The same by looking at every element there is."""
    found = []
    for each in elements(data, start):
        if each.kind in (BsonType.OBJECT, BsonType.ARRAY):
            found += slow_places(data, each.value)
        elif each.kind == BsonType.JAVASCRIPT_WITH_SCOPE:
            found += slow_places(data, scope_document(data, each.value, each.end))
        elif each.kind == BsonType.BIN_DATA and data[each.value + 4 : each.value + 7] == MARKER:
            found.append(each.start)
    return found


def decrypted(message: bytes, keyring: Keyring = KEYRING) -> bytes:
    return reveal(message, parse_op_msg(message), keyring.open_envelope)[0]


@pytest.mark.parametrize(
    "data",
    [
        document(MARKED_ELEMENT),
        document(MARKED_ELEMENT, MARKED_ELEMENT),
        document(element(BsonType.OBJECT, b"a", document(MARKED_ELEMENT)), MARKED_ELEMENT),
        document(element(BsonType.ARRAY, b"a", document(MARKED_ELEMENT, element(BsonType.NULL, b"1")))),
        document(element(_SCOPED, b"f", code_with_scope(b"", document(MARKED_ELEMENT)))),
        # the marker in places that are no value of a binary, before one that is
        document(element(BsonType.NULL, MARKER), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, MARKER + MARKER, MARKED)),
        document(element(BsonType.OBJECT, MARKER, document(element(BsonType.BIN_DATA, MARKER, MARKED)))),
        document(element(BsonType.STRING, b"s", string(MARKER)), MARKED_ELEMENT),
        document(element(BsonType.REGEX, b"r", MARKER + b"\0" + MARKER + b"\0"), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(0, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(SUBTYPE, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.BIN_DATA, b"b", binary(2, MARKER)), MARKED_ELEMENT),
        document(element(BsonType.DOUBLE, b"d", b"\0\0" + MARKER + MARKER), MARKED_ELEMENT),
        document(element(_SCOPED, b"f", code_with_scope(MARKER, document(MARKED_ELEMENT)))),
        document(element(BsonType.OBJECT, b"a", document(element(BsonType.NULL, MARKER))), MARKED_ELEMENT),
    ],
)  # fmt: skip
def test_the_search_finds_what_a_walk_of_everything_finds(data: bytes) -> None:
    assert slow_places(data)
    assert opened(data) == len(slow_places(data))


@given(bson_documents(), st.lists(st.sampled_from([MARKER, b"SW", b"\x80", b""]), min_size=2, max_size=2))
def test_the_search_finds_the_same_in_any_document(data: bytes, names: list[bytes]) -> None:
    inner = document(data[4:-1], element(BsonType.BIN_DATA, names[0], MARKED))
    whole = document(element(BsonType.OBJECT, names[1], inner), data[4:-1], MARKED_ELEMENT, data[4:-1])
    assert opened(whole) == len(slow_places(whole))


@pytest.mark.parametrize("distance", range(40))
def test_the_next_envelope_is_found_at_any_distance(distance: int) -> None:
    name = (MARKER[:2] * distance)[:distance]
    assert opened(document(MARKED_ELEMENT, element(BsonType.BIN_DATA, name, MARKED))) == 2


def test_a_length_that_spells_the_marker_hides_nothing() -> None:
    # the document's own length is 0x57_53_80 = 5723008 bytes: 80 53 57 00
    head, tail = element(BsonType.BIN_DATA, b"pad", b""), MARKED_ELEMENT
    size = int.from_bytes(MARKER + b"\0", "little")
    data = document(head + binary(0, bytes(size - 5 - len(head) - 5 - len(tail))), tail)
    assert data.startswith(MARKER)
    assert opened(data) == 1


SPELT = int.from_bytes(MARKER + b"\0", "little")
"""5723008: on the wire, the int32 of this length begins with the marker."""


@pytest.mark.parametrize("kind", [BsonType.STRING, BsonType.BIN_DATA])
def test_a_value_whose_length_spells_the_marker_is_judged_by_its_subtype(kind: int) -> None:
    content = b"SW".ljust(SPELT - 1, b".") + b"\0"
    value = int32(SPELT) + content if kind == BsonType.STRING else binary(SUBTYPE, content)
    assert value.startswith(MARKER)
    assert opened(document(element(kind, b"long", value), MARKED_ELEMENT)) == 1 + (kind == BsonType.BIN_DATA)


def test_an_envelope_of_the_length_that_spells_the_marker_is_decrypted() -> None:
    value = "x" * (SPELT - len(envelope("nhs", "")))
    assert len(envelope("nhs", value)) == SPELT
    assert decrypted(reply({"a": sealed("nhs", value)})) == reply({"a": value})


def test_documents_of_all_sections_are_searched() -> None:
    message = command({"x": SEALED}, first={"a": [{}, {"n": SEALED}]}, after={"b": [{"n": {"o": SEALED}}]})
    parsed = parse_op_msg(message)
    everywhere = [parsed.body]
    for sequence in parsed.sequences:
        everywhere += sequence_documents(message, sequence)
    assert holds_envelope(message, sorted(everywhere))
    assert [holds_envelope(message, [start]) for start in sorted(everywhere)] == [False, True, True, True]
    assert reveal(message, parsed, lambda _buf, _start, _end: (BsonType.NULL, b""))[1] == 3


def test_a_message_without_envelopes_is_the_same_object() -> None:
    message = command({"x": "\x80SW"}, first={"a": [{"b": MARKER}]})
    assert (
        reveal(message, parse_op_msg(message), lambda _buf, _start, _end: (BsonType.NULL, b""))[0] is message
    )


@pytest.mark.parametrize("name", INVALID)
def test_a_bad_document_on_the_way_to_a_hit_is_an_error_or_harmless(name: str) -> None:
    data = document(element(BsonType.OBJECT, b"bad", INVALID[name][0]), MARKED_ELEMENT)
    with suppress(BsonError):
        assert holds_envelope(data, [0])


@pytest.mark.parametrize("kind", [BsonType.OBJECT, BsonType.ARRAY])
def test_a_hit_too_deep_is_an_error(kind: BsonType) -> None:
    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(kind, b"0", data))
    assert opened(data) == 1
    with raising(BsonError, WireReason.BSON_DEPTH):
        holds_envelope(document(element(kind, b"0", data)), [0])


@pytest.mark.parametrize("place", ["body", "sequence"])
def test_a_hit_beside_a_sequence_may_lie_as_deep_and_no_deeper(place: str) -> None:
    def count(deep: bytes) -> int:
        shallow = document(element(BsonType.INT, b"a", int32(1)))
        body, item = (deep, shallow) if place == "body" else (shallow, deep)
        message = command(body, after={"documents": [RawBSONDocument(item)]})
        return reveal(message, parse_op_msg(message), lambda *_: (BsonType.BOOL, b"\1"))[1]

    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(BsonType.OBJECT, b"0", data))
    assert count(data) == 1
    with raising(BsonError, WireReason.BSON_DEPTH):
        count(document(element(BsonType.OBJECT, b"0", data)))


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ({"a": SEALED}, {"a": "x"}),
        ({"a": [1, SEALED, [SEALED]]}, {"a": [1, "x", ["x"]]}),
        ({"a": {"b": {"c": SEALED}}, "d": 1}, {"a": {"b": {"c": "x"}}, "d": 1}),
        ({"f": Code("1", {"v": SEALED})}, {"f": Code("1", {"v": "x"})}),
        ({"a": sealed_randomly("secret", {"deep": [1, {}]})}, {"a": {"deep": [1, {}]}}),
        ({"a": sealed_randomly("secret", [])}, {"a": []}),
        ({"n": sealed("visits", 3), "b": sealed("smoker", True)}, {"n": 3, "b": True}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [0, 1])
def test_envelopes_become_the_values_that_they_hold(
    stored: dict[str, Any], plain: dict[str, Any], flags: int
) -> None:
    assert decrypted(reply(stored, flags=flags)) == reply(plain, flags=flags)


def test_envelopes_in_sequences_are_decrypted() -> None:
    def message(value: Any) -> bytes:
        return command({"ok": 1}, first={"a": [{"v": value}, {}]}, after={"b": [{"v": [value]}]})

    assert decrypted(message(SEALED)) == message("x")


@pytest.mark.parametrize("position", range(len(SEALED)))
def test_a_flipped_bit_in_any_byte_reveals_nothing(position: int) -> None:
    for bit in (1, 128):
        forged = bytearray(SEALED)
        forged[position] ^= bit
        message = reply({"good": SEALED, "bad": Binary(bytes(forged), SUBTYPE)})
        if position < 2:
            # without the magic it is somebody else's binary
            assert decrypted(message) == reply({"good": "x", "bad": Binary(bytes(forged), SUBTYPE)})
        else:
            with pytest.raises((InvalidEnvelope, DecryptionFailed, UnknownKey)):
                decrypted(message)


@pytest.mark.parametrize("length", [*range(2, len(SEALED)), len(SEALED) + 1])
def test_a_truncated_or_extended_envelope_reveals_nothing(length: int) -> None:
    with pytest.raises((InvalidEnvelope, DecryptionFailed)):
        decrypted(reply({"a": Binary((SEALED + b"\0")[:length], SUBTYPE)}))


@pytest.mark.parametrize("swap", [(4, 8), (8, 12), (12, 13), (3, 4)])
def test_a_header_of_another_class_version_type_or_mode_reveals_nothing(swap: tuple[int, int]) -> None:
    start, end = swap
    other = sealed_randomly("visits", 7, version=2)
    forged = SEALED[:start] + other[start:end] + SEALED[end:]
    assert forged != SEALED
    with pytest.raises((InvalidEnvelope, DecryptionFailed, UnknownKey)):
        decrypted(reply({"a": Binary(forged, SUBTYPE)}))


def test_the_unknown_key_is_named_by_its_ids() -> None:
    with pytest.raises(UnknownKey) as caught:
        decrypted(reply({"a": SEALED}), Keyring([]))
    assert caught.value.key == (1, 1)


def test_the_corpus_between_envelopes_stays_byte_for_byte() -> None:
    def message(data: bytes, hit: bytes) -> bytes:
        return reply(document(element(3, b"before", data), hit, element(4, b"behind", data)))

    stored = element(BsonType.BIN_DATA, b"v", binary(SUBTYPE, envelope("visits", 1)))
    plain = element(BsonType.INT, b"v", int32(1))
    for data in VALID.values():
        assert decrypted(message(data, stored)) == message(data, plain)


NHS = "943 476 5919"
SEALED_FIELD = sealed("nhs", NHS)
Z = Openings({b"z": Openings({b"nhs": WHOLE, b"a": Openings({b"b": WHOLE})}), b"y": WHOLE})


def at_paths(message: bytes, openings: Openings, batch: EnvelopeBatch | None = None) -> tuple[bytes, int]:
    """What is revealed at these paths, and how many envelopes that were."""
    parsed = parse_op_msg(message)
    opens = KEYRING.open_envelope if batch is None else batch.take
    at_paths = AtPaths(message, parsed.body, openings, POLICY, opens)
    revealed, met = reveal(message, parsed, at_paths.open_envelope, batch)
    return revealed, met - at_paths.kept


def shown(document: Any, openings: Openings = Z) -> Any:
    message = reply({"cursor": {"firstBatch": [document], "id": Int64(0), "ns": "a.b"}, "ok": 1.0})
    return body_of(at_paths(message, openings)[0])["cursor"]["firstBatch"][0]


def test_envelopes_are_opened_at_the_paths_and_below_them_through_arrays() -> None:
    stored = {
        "first": SEALED_FIELD,
        "z": [
            {"nhs": SEALED_FIELD, "other": SEALED_FIELD},
            [{"nhs": [SEALED_FIELD, {"deep": SEALED_FIELD}], "a": [{"b": SEALED_FIELD}]}],
        ],
        "y": {"anything": [SEALED_FIELD], "5": {"x": SEALED_FIELD}},
        "nhs": SEALED_FIELD,
        "z.nhs": SEALED_FIELD,
        "5": {"z": {"nhs": SEALED_FIELD}},
        "last": {"z": {"nhs": SEALED_FIELD}},
    }
    found = shown(stored)
    opened = {
        "z": [{"nhs": NHS, "other": SEALED_FIELD}, [{"nhs": [NHS, {"deep": NHS}], "a": [{"b": NHS}]}]],
        "y": {"anything": [NHS], "5": {"x": NHS}},
    }
    assert found == {**stored, **opened}


def test_what_counts_for_a_document_does_not_for_an_array() -> None:
    single = Openings({b"a": Openings({b"z": WHOLE}, single=True)})
    assert from_text(as_text(single)).below[b"a"].single
    for value, opened in (({"z": SEALED_FIELD}, {"z": NHS}), ([{"z": SEALED_FIELD}], [{"z": SEALED_FIELD}])):
        assert shown({"a": value}, single) == {"a": opened}


def test_a_field_that_is_there_twice_is_not_opened() -> None:
    inner = document(element(kinds.BIN_DATA, b"nhs", value_bytes(SEALED_FIELD)[1]))
    once = element(kinds.OBJECT, b"z", inner)
    for fields, opened in ((once, 1), (once + once, 0)):
        batch = document(element(kinds.OBJECT, b"0", document(fields)))
        cursor = document(element(kinds.ARRAY, b"firstBatch", batch))
        message = reply(document(element(kinds.OBJECT, b"cursor", cursor)))
        assert at_paths(message, Z)[1] == opened


@pytest.mark.parametrize("place", ["errmsg", "keyValue", "value", "values"])
def test_nothing_outside_of_documents_is_opened(place: str) -> None:
    message = reply({"ok": 0.0, place: {"z": {"nhs": SEALED_FIELD}}})
    assert at_paths(message, Z if place != "values" else CLOSED) == (message, 0)


def test_events_are_opened_if_their_collection_is_protected() -> None:
    for names, is_opened in (
        ({"db": "clinic", "coll": "patients"}, True),
        ({"db": "clinic", "coll": "copy"}, False),
        ({"db": "clinic"}, False),
        ("clinic.patients", False),
        (None, False),
    ):
        event = {"fullDocument": {"nhs_number": SEALED_FIELD}, "ns": names}
        expected = {"nhs_number": NHS if is_opened else SEALED_FIELD}
        assert shown(event, BY_NAMESPACE)["fullDocument"] == expected
    assert shown({"fullDocument": SEALED_FIELD}, BY_NAMESPACE) == {"fullDocument": SEALED_FIELD}


@rows("openings", CLOSED, Z, Openings({b"": WHOLE}), Openings({b"a.,-\xff": Openings({b"": WHOLE})}))
def test_openings_survive_their_text(openings: Openings) -> None:
    text = as_text(openings)
    assert as_text(from_text(text)) == text
    assert set(text) <= set(b"0123456789abcdef.,!")
    assert from_text(as_text(BY_NAMESPACE)) is BY_NAMESPACE


JOIN = {"from": "patients", "localField": "none", "foreignField": "zz", "as": "z"}
CURSOR = 4711


def batch(name: str, namespace: str, *, is_opened: bool, response_to: int, cursor_id: int = CURSOR) -> bytes:
    documents = [{"copied": SEALED_FIELD, "z": [{"nhs_number": NHS if is_opened else SEALED_FIELD}]}]
    return reply(
        {"cursor": {"id": Int64(cursor_id), "ns": namespace, name: documents}, "ok": 1.0}, response_to
    )


def joined(on: str, *, long: bool = False) -> tuple[Playbook, str]:
    """A session after the first batch of a join, and the collection's name that it gave."""
    play, is_own = Playbook(session()), on == "patients"
    stage = {"$lookup": {**JOIN, "from": "copy"} if is_own else JOIN}
    aggregate = command({"aggregate": on, "pipeline": [stage], "cursor": {}, "$db": "clinic"})
    play >> client(aggregate) << pause(True) << to_server(asked("copy", 1))
    play >> server(told(response_to=1)) << pause(False) << to_server(aggregate)
    joins = [{"nhs_number": SEALED_FIELD}]
    stored = {"nhs_number": SEALED_FIELD, "z": joins, "copied": SEALED_FIELD, "long": "x" * LONG_BYTES * long}
    first = {"id": Int64(CURSOR), "ns": f"clinic.{on}", "firstBatch": [stored]}
    (answer, _) = play.session.server_data(reply({"cursor": first, "ok": 1.0}))
    assert isinstance(answer, ToClient)
    cursor = body_of(answer.data)["cursor"]
    (document,) = cursor["firstBatch"]
    assert document["copied"] == SEALED_FIELD
    assert document["nhs_number"] == (NHS if is_own else SEALED_FIELD)
    assert document["z"] == [{"nhs_number": SEALED_FIELD if is_own else NHS}]
    return play, cursor["ns"].partition(".")[2]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("on", ["copy", "patients"])
def test_a_join_opens_the_protected_documents_alone(on: str, long: bool) -> None:
    joined(on, long=long)


@rows(
    "change, is_opened",
    (lambda name: name, True),
    (lambda name: name.partition("-")[0], False),
    (lambda name: name + ",.636f70696564", False),
    (lambda name: name.partition("-")[0] + "-ns", False),
    (lambda name: name.replace("-", ""), False),
    (lambda _: "copy", False),
)
def test_another_session_opens_no_more_than_the_first_and_nobody_changes_the_paths(
    change: Callable[[str], str], *, is_opened: bool
) -> None:
    _, collection = joined("copy")
    play = Playbook(session())
    more = {"getMore": Int64(CURSOR), "$db": "clinic"}
    play >> client(command({**more, "collection": change(collection)}, 2))
    play << to_server(command({**more, "collection": "copy"}, 2))
    play >> server(batch("nextBatch", "clinic.copy", is_opened=False, response_to=2))
    shown_as = f"clinic.{collection}" if is_opened else "clinic.copy"
    play << to_client(batch("nextBatch", shown_as, is_opened=is_opened, response_to=2))
    play.finish()


def test_a_protected_name_without_the_mark_opens_no_more() -> None:
    play, collection = joined("patients")
    assert collection.startswith("patients.$sealwire.")
    more = command({"getMore": Int64(CURSOR), "collection": "patients", "$db": "clinic"}, 2)
    play >> client(more) << to_server(more)
    (answer, *_) = play.session.server_data(
        batch("nextBatch", "clinic.patients", is_opened=False, response_to=2)
    )
    assert isinstance(answer, ToClient)
    (document,) = body_of(answer.data)["cursor"]["nextBatch"]
    assert document == {"copied": SEALED_FIELD, "z": [{"nhs_number": SEALED_FIELD}]}


def test_a_mark_says_where_replies_are_opened() -> None:
    _, collection = joined("copy")
    message = command({"getMore": Int64(CURSOR), "collection": collection, "$db": "clinic"})
    _, opened, openings = cursors.unmark(message, parse_op_msg(message).body, b"getMore", KEYRING, [POLICY])
    assert opened is cursors.Opened.BY_MARK
    assert openings is not None
    assert as_text(openings) == b".7a"


def batching() -> EnvelopeBatch:
    """Opens many values together."""
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    return batch


def together(message: bytes) -> bytes:
    """What a batch makes of it, which has to be what each envelope by itself does."""
    batch, parsed = batching(), parse_op_msg(message)
    BATCHING.opened.clear()
    revealed, count = reveal(message, parsed, None, batch)
    assert sum(BATCHING.opened.take().values()) == count
    assert (revealed, count) == reveal(message, parsed, batch.take, batch)
    assert (revealed, count) == reveal(message, parsed, KEYRING.open_envelope)
    return revealed


stored_values = st.one_of(
    st.tuples(st.sampled_from(["nhs", "visits"]), st.text(max_size=80)).map(lambda each: sealed(*each)),
    st.text(max_size=20).map(lambda text: sealed_randomly("nhs", text)),
    st.integers(0, 9),
)
stored_documents = st.recursive(
    stored_values,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text("abc", max_size=2), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(body=st.dictionaries(st.text("abc", max_size=2), stored_documents, max_size=6), first=stored_documents)
def test_values_are_opened_together_as_each_by_itself(body: dict[str, Any], first: Any) -> None:
    together(command({**body, "ok": 1}, first={"x": [{"v": first}, {}]}, after={"y": [{"v": [first]}]}))


def test_more_values_than_are_opened_at_once() -> None:
    def message(value: Any) -> bytes:
        return reply(
            {"a": [{"b": {"v": [value, value]}, "n": index} for index in range(MAX_TOGETHER)], "ok": 1.0}
        )

    assert together(message(SEALED)) == message("x")


def test_without_anything_that_opens_envelopes_none_is_passed_on() -> None:
    message = reply({"v": SEALED, "ok": 1.0})
    with pytest.raises(TypeError):
        reveal(message, parse_op_msg(message), None)


@pytest.mark.parametrize("at", [0, 1, MAX_TOGETHER])
def test_one_value_that_does_not_open_withholds_the_others(at: int) -> None:
    forged = Binary(SEALED[:-1] + b"?", SUBTYPE)
    message = reply({"a": [forged if index == at else SEALED for index in range(MAX_TOGETHER + 1)]})
    batch = batching()
    with pytest.raises(DecryptionFailed):
        reveal(message, parse_op_msg(message), batch.take, batch)


def test_what_is_masked_beside_what_is_opened_together() -> None:
    batch = batching()
    rights = Rights(("r",), {"nhs": ClassAccess(Disclosure(Level.MASKED, Mask.LAST4))}, ClassAccess(CLEAR))
    shown = Shown(rights, BATCHING.classes_of, BATCHING.open_envelope, take=batch.take)
    message = reply({"v": [sealed("visits", 7), sealed("nhs", NHS_CLASS), sealed("visits", 8)], "ok": 1.0})
    found = body_of(reveal(message, parse_op_msg(message), shown.open_envelope, batch)[0])
    assert found["v"] == [7, "****5919", 8]


def test_what_is_opened_together_at_some_paths() -> None:
    batch = batching()
    stored = {"nhs": SEALED_FIELD, "z": {"nhs": SEALED_FIELD, "x": SEALED_FIELD}, "y": [SEALED_FIELD]}
    message = reply({"cursor": {"firstBatch": [stored], "id": Int64(0), "ns": "a.b"}, "ok": 1.0})
    revealed, opened = at_paths(message, Z, batch)
    (found,) = body_of(revealed)["cursor"]["firstBatch"]
    assert found == {**stored, "z": {"nhs": NHS, "x": SEALED_FIELD}, "y": [NHS]}
    assert opened == 2


NHS_CLASS = "9434765919"


def seen(stored: Binary, disclosure: Disclosure, keyring: Keyring = KEYRING) -> object:
    rights = Rights(("r",), {"nhs": ClassAccess(disclosure)}, ClassAccess(CLEAR))
    shown = Shown(rights, keyring.classes_of, keyring.open_envelope)
    message = reply({"v": [stored, "beside"], "ok": 1.0})
    return body_of(reveal(message, parse_op_msg(message), shown.open_envelope)[0])["v"]


def test_each_level() -> None:
    stored = sealed("nhs", NHS_CLASS)
    assert seen(stored, CLEAR) == [NHS_CLASS, "beside"]
    assert seen(stored, Disclosure(Level.MASKED, Mask.LAST4)) == ["****5919", "beside"]
    assert seen(stored, Disclosure(Level.CIPHERTEXT)) == [stored, "beside"]
    with pytest.raises(ReadDenied):
        seen(stored, DENIED)


def test_a_class_id_of_another_class_gets_nobody_a_value() -> None:
    stored = sealed("nhs", NHS_CLASS)
    relabelled = Binary(stored[:7] + b"\x02" + stored[8:], 0x80)
    with pytest.raises(DecryptionFailed):
        seen(relabelled, DENIED)


def test_a_class_that_the_keyring_does_not_know_is_asked_for() -> None:
    with pytest.raises(UnknownKey):
        seen(Binary(sealed("nhs", NHS_CLASS)[:7] + b"\x63" + sealed("nhs", NHS_CLASS)[8:], 0x80), CLEAR)


def test_a_class_without_a_name_is_not_shown_even_where_a_key_opens_it() -> None:
    shown = Shown(Rights(("r",), others=ClassAccess(CLEAR)), lambda _id: (), KEYRING.open_envelope)
    message = reply({"v": sealed("nhs", NHS_CLASS), "ok": 1.0})
    with pytest.raises(ReadDenied):
        reveal(message, parse_op_msg(message), shown.open_envelope)


def test_of_classes_that_share_a_key_the_least_counts() -> None:
    borrower = data_key("visits")
    lent = type(borrower)(
        *("visits", borrower.class_id, 1, borrower.state, borrower.created, data_key("nhs").material),
        lender=KeyIds(data_key("nhs").class_id, 1),
    )
    keyring = Keyring([data_key("nhs"), lent])
    assert keyring.classes_of(data_key("nhs").class_id) == ("nhs", "visits")
    rights = Rights(("r",), {"nhs": ClassAccess(CLEAR)}, ClassAccess(DENIED))
    shown = Shown(rights, keyring.classes_of, keyring.open_envelope)
    message = reply({"v": sealed("nhs", NHS_CLASS), "ok": 1.0})
    with pytest.raises(ReadDenied):
        reveal(message, parse_op_msg(message), shown.open_envelope)


def test_a_class_with_keys_for_contexts_is_known_by_the_same_id(tmp_path: Path) -> None:
    policy = policy_of(b"""
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  notes: {mode: random, key: {per: tenant}}
collections:
  clinic.people: {ssn: ssn, notes: notes}
roles:
  clerk:
    certificates: ["CN=clerk"]
    classes: {ssn: {read: {mask: last4}}, notes: {read: ciphertext}}
""")
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        world = World(store)
        (stored,) = inserted(world, {"tenant": 1, "ssn": NHS_CLASS, "notes": "y"})
        world.shared.use_settings(SessionSettings(policy, login_required=False))
        world.session.settings_changed()
        world.session.certified("CN=clerk")
        (seen,) = world.receive(batch_of(stored))["cursor"]["firstBatch"]
    assert seen == {"tenant": 1, "ssn": "****5919", "notes": stored["notes"]}
