"""Bytes that are not the protocol, from either side: nothing of them is passed on, and nothing raises.

Each case of the tables closes the connection or is answered with an error. A good command goes before it, to
show that the session worked, and one after it, which must not reach the server once the session is closed.
"""

import struct
from collections.abc import Callable
from typing import Any

import pytest
from bson import Code, Int64
from bson.binary import Binary
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sealwire.crypto.envelope import SUBTYPE
from sealwire.proxy.session.effects import Close, CloseReason, NeedKeys, ToClient, ToServer
from sealwire.wire.op_msg import parse_op_msg
from tests.bson_types import BsonType
from tests.proxy.session.verdicts import assert_closed_or_answered, assert_parses
from tests.proxy.session.world import (
    command,
    encoded,
    envelope,
    legacy_query,
    legacy_reply,
    reply,
    sealed,
    sealed_randomly,
    session,
    written,
)
from tests.strategies import MadeSequence, made_op_msg
from tests.wire.corpus import INVALID, binary, code_with_scope, document, element, int32, string

PING = command({"ping": 1, "$db": "admin"}, 70)
LATER = command({"ping": 1, "$db": "admin"}, 71)
FIND = command({"find": "patients", "$db": "clinic"}, 70)
INSERT = {"insert": "patients", "$db": "clinic"}
BODY = encoded(INSERT)
DOCUMENTS = MadeSequence(b"documents", (encoded({"_id": 1, "nhs_number": "x"}),))
SEALED = sealed("nhs", "x")


def framed(payload: bytes, op_code: int = 2013, length: int | None = None) -> bytes:
    size = 16 + len(payload) if length is None else length
    return struct.pack("<iiii", size, 1, 0, op_code) + payload


def flagged(flags: int, sections: bytes) -> bytes:
    return framed(struct.pack("<I", flags) + sections)


def patched(message: bytes, offset: int, data: bytes) -> bytes:
    return message[:offset] + data + message[offset + len(data) :]


def section(identifier: bytes, content: bytes, size: int | None = None) -> bytes:
    return b"\1" + int32(4 + len(identifier) + len(content) if size is None else size) + identifier + content


def insert_of(*documents: bytes, flags: int = 0) -> bytes:
    return made_op_msg(BODY, (None, MadeSequence(b"documents", documents)), flags).message


def insert_array(*documents: bytes) -> bytes:
    items = [element(BsonType.OBJECT, b"%d" % n, each) for n, each in enumerate(documents)]
    array = element(BsonType.ARRAY, b"documents", document(*items))
    return made_op_msg(document(BODY[4:-1], array)).message


GOOD = made_op_msg(BODY, (None, DOCUMENTS)).message

FRAMES = {
    "length zero": framed(b"", length=0),
    "length fifteen": framed(b"", length=15),
    "length negative": framed(b"", length=-1),
    "length smallest": framed(b"", length=-(2**31)),
    "length past the limit": framed(b"", length=48_000_001),
    "length largest": framed(b"", length=2**31 - 1),
    "header alone": framed(b""),
    "flags alone": framed(bytes(4)),
    "flags and a kind": flagged(0, b"\0"),
    "body cut off": framed(bytes(4) + b"\0" + BODY[:-1]),
    "bytes behind the body": flagged(0, b"\0" + BODY + b"\0"),
    "text of another protocol": b"GET / HTTP/1.1\r\nHost: database\r\n\r\n",
    "a TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(194),
}
OPCODES = {
    f"opcode {code}": framed(bytes(4) + b"\0" + BODY, code)
    for code in (0, 1, 2001, 2002, 2005, 2006, 2007, 2010, 2011, 2012, 2014, -1, 2**31 - 1)
} | {
    "OP_COMPRESSED around a message": framed(struct.pack("<iib", 2013, 99, 0) + bytes(5) + BODY, 2012),
    "OP_MSG as OP_QUERY": patched(GOOD, 12, int32(2004)),
    "OP_QUERY as OP_MSG": patched(legacy_query({"isMaster": 1}), 12, int32(2013)),
}  # fmt: skip
SECTIONS = {
    "no section": flagged(0, b""),
    "no body": flagged(0, section(b"documents\0", encoded({}))),
    "two bodies": flagged(0, (b"\0" + BODY) * 2),
    "two bodies around a sequence": flagged(0, b"\0" + BODY + section(b"x\0", b"") + b"\0" + BODY),
    "kind 2": flagged(0, b"\0" + BODY + b"\2" + encoded({})),
    "kind 255": flagged(0, b"\xff" + BODY),
    "two sequences of one name": made_op_msg(BODY, (None, DOCUMENTS, DOCUMENTS)).message,
    "a sequence for a field of the body": made_op_msg(
        encoded({"insert": "patients", "documents": [], "$db": "clinic"}), (None, DOCUMENTS)
    ).message,
    "a sequence for a path into a field of the body": made_op_msg(
        BODY, (None, MadeSequence(b"insert.x", ()))
    ).message,
    "seventeen sequences": made_op_msg(
        BODY, (None, *(MadeSequence(b"s%d" % n, ()) for n in range(17)))
    ).message,
    "sequence size zero": flagged(0, b"\0" + BODY + section(b"documents\0", b"", size=0)),
    "sequence size negative": flagged(0, b"\0" + BODY + section(b"documents\0", b"", size=-9)),
    "sequence size one short": flagged(0, b"\0" + BODY + section(b"documents\0", encoded({}), size=18)),
    "sequence size one long": flagged(0, b"\0" + BODY + section(b"documents\0", encoded({}), size=20)),
    "sequence size largest": flagged(0, b"\0" + BODY + section(b"documents\0", b"", size=2**31 - 1)),
    "sequence name without NUL": flagged(0, b"\0" + BODY + section(b"documents", b"")),
    "sequence of another argument": made_op_msg(BODY, (None, MadeSequence(b"updates", ()))).message,
    "a sequence for find": command({"find": "patients", "$db": "clinic"}, after={"documents": [{}]}),
    "sequence document cut off": insert_of(encoded({"a": 1})[:-1]),
    "sequence document length long": insert_of(int32(6) + b"\0"),
}
FLAGS = {
    f"flag bit {bit}": made_op_msg(BODY, (None, DOCUMENTS), 1 << bit).message for bit in range(2, 16)
} | {
    "checksum of other bytes": patched(insert_of(encoded({"a": 1}), flags=1), 30, b"\x7f"),
    "checksum missing": patched(GOOD, 16, b"\1"),
}
SHAPES = {
    "an empty body": command({}),
    "no $db": command({"find": "patients"}),
    "$db is no string": command({"find": "patients", "$db": 1}),
    "$db twice": made_op_msg(document(BODY[4:-1], element(2, b"$db", string(b"other")))).message,
    "a command by UUID": command({"find": Binary(bytes(16), 4), "$db": "clinic"}),
    "documents is no array": command({**INSERT, "documents": {"0": {}}}),
    "a document is no document": command({**INSERT, "documents": [1]}),
    "a filter is no document": command({"find": "patients", "filter": [1], "$db": "clinic"}),
    "a filter twice": made_op_msg(
        document(
            encoded({"find": "patients", "filter": {}, "$db": "clinic"})[4:-1],
            element(3, b"filter", encoded({"nhs_number": "x"})),
        )
    ).message,
    "explain of explain": command({"explain": {"explain": {"find": "patients"}}, "$db": "clinic"}),
    "a dotted name over a covered path": command({**INSERT, "documents": [{"contact.email": "x"}]}),
}
LEGACY = {
    "an old insert": framed(int32(0) + b"clinic.patients\0" + encoded({"nhs_number": "x"}), 2002),
    "an old query": legacy_query({"nhs_number": "x"}, namespace=b"clinic.patients"),
    "a find as an old query": legacy_query({"find": "patients"}, namespace=b"clinic.$cmd"),
    "a flag that must be 0": legacy_query({"isMaster": 1}, flags=1),
    "a name without NUL": framed(int32(0) + b"x" * 40, 2004),
    "bytes behind": framed(legacy_query({"isMaster": 1})[16:] + b"\0", 2004),
    "bad BSON inside": legacy_query(
        document(element(16, b"isMaster", int32(1)), element(3, b"c", INVALID["bool two"][0]))
    ),
    "bad BSON in the selector": framed(legacy_query({"isMaster": 1})[16:] + int32(9) + bytes(5), 2004),
}
_FORGED: dict[str, dict[str, Any]] = {
    "in a filter": {"find": "patients", "filter": {"nhs_number": SEALED}},
    "in an uncovered field of a filter": {"find": "patients", "filter": {"a": {"$in": [1, SEALED]}}},
    "in a document": {**INSERT, "documents": [{"nhs_number": SEALED}]},
    "deep in an uncovered field": {**INSERT, "documents": [{"a": [{"b": {"c": [SEALED]}}]}]},
    "in a random field": {**INSERT, "documents": [{"notes": {"x": SEALED}}]},
    "in code with scope": {**INSERT, "documents": [{"a": Code("1", {"b": SEALED})}]},
    "in an update": {"update": "patients", "updates": [{"q": {}, "u": {"$set": {"a": SEALED}}}]},
    "in a pipeline": {"aggregate": "patients", "pipeline": [{"$addFields": {"a": SEALED}}], "cursor": {}},
    "on an unprotected collection": {"insert": "wards", "documents": [{"a": SEALED}]},
    "in a comment": {"find": "wards", "comment": {"a": [SEALED]}},
    "in an unknown command": {"futureCommand": 1, "x": SEALED},
    "in a hello": {"hello": 1, "client": {"x": SEALED}},
    "in a login": {"saslStart": 1, "mechanism": "PLAIN", "payload": SEALED},
    "only its first bytes": {"find": "wards", "filter": {"a": Binary(b"SW", SUBTYPE)}},
    "of random mode": {"find": "wards", "filter": {"a": sealed_randomly("secret", 1)}},
    "of a future format": {"find": "wards", "filter": {"a": Binary(b"SW\x02" + bytes(60), SUBTYPE)}},
}
FORGED = {f"envelope {name}": command({**body, "$db": "clinic"}) for name, body in _FORGED.items()} | {
    "envelope in a sequence": command(INSERT, after={"documents": [{}, {"a": SEALED}]}),
    "envelope in a sequence before the body": command(INSERT, first={"documents": [{"a": [SEALED]}]}),
    "envelope in an unprotected sequence": command(
        {"insert": "wards", "$db": "clinic"}, after={"documents": [{"a": SEALED}]}
    ),
    "envelope in an old hello": legacy_query({"isMaster": 1, "x": {"y": SEALED}}),
    "envelope with a checksum": command({"ping": 1, "x": SEALED, "$db": "x"}, flags=1),
}


FROM_CLIENT = FRAMES | OPCODES | SECTIONS | FLAGS | SHAPES | LEGACY | FORGED


def places_of(inner: bytes) -> dict[str, bytes]:
    """Messages about a protected collection, and a hello, with one document at every level."""
    nested = document(element(BsonType.OBJECT, b"uncovered", inner))
    array = document(element(BsonType.OBJECT, b"0", inner))
    find = element(2, b"find", string(b"patients")), element(2, b"$db", string(b"clinic"))
    hello = element(16, b"hello", int32(1))
    return {
        "a document of the body": insert_array(inner),
        "a document of a sequence": insert_of(inner),
        "in a field": insert_of(nested),
        "in a field of the body's array": insert_array(nested),
        "in a scope": insert_of(document(element(_SCOPED, b"f", code_with_scope(b"", inner)))),
        "in an array": insert_of(document(element(BsonType.ARRAY, b"a", array))),
        "in a covered field": insert_of(document(element(BsonType.OBJECT, b"notes", inner))),
        "above a covered field": insert_of(document(element(BsonType.OBJECT, b"contact", inner))),
        "in a filter": made_op_msg(document(*find, element(BsonType.OBJECT, b"filter", nested))).message,
        "in a hello": made_op_msg(document(hello, element(BsonType.OBJECT, b"client", inner))).message,
    }


_SCOPED = BsonType.JAVASCRIPT_WITH_SCOPE
# How deep is too deep is counted from where the walk for covered fields ends; nothing is an empty sequence.
_NOT_BAD = {
    "a document of a sequence": (
        "too deep documents",
        "too deep arrays",
        "scope document too deep",
        "nothing",
    ),
    "above a covered field": ("too deep documents", "too deep arrays", "scope document too deep"),
}


def test_what_the_cases_are_made_of_is_good() -> None:
    for good in (GOOD, *places_of(encoded({"a": {"b": 1}})).values()):
        assert written(session().client_data(good), ToServer)


@pytest.mark.parametrize("name", FROM_CLIENT)
def test_nothing_malformed_from_the_client_reaches_the_server(name: str) -> None:
    assert_stopped(FROM_CLIENT[name])


@pytest.mark.parametrize("name", INVALID)
def test_no_bad_bson_reaches_the_server_from_any_level(name: str) -> None:
    for place, message in places_of(INVALID[name][0]).items():
        if name not in _NOT_BAD.get(place, ()):
            assert_stopped(message)


def assert_stopped(message: bytes) -> None:
    talk = session()
    assert talk.client_data(PING)[-1] == ToServer(PING)
    effects = talk.client_data(message)
    if not effects:
        # a frame that waits for more: the end of the stream drops it
        effects = talk.client_eof()
        assert effects == [Close(CloseReason.CLIENT_EOF)]
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert_closed_or_answered(effects)
    later = talk.client_data(LATER)
    if isinstance(effects[-1], Close):
        assert later == []
    else:
        assert later[-1] == ToServer(LATER)


def test_the_same_from_the_server_reaches_the_client_as_received_or_not_at_all() -> None:
    bad = [message for inner, _ in INVALID.values() for message in places_of(inner).values()]
    for message in [*bad, *(FRAMES | OPCODES | SECTIONS | FLAGS).values()]:
        talk = session()
        talk.client_data(FIND)
        answer = patched(message, 8, int32(70))
        effects = talk.server_data(answer)
        assert not any(isinstance(effect, ToServer) for effect in effects)
        for effect in effects:
            if isinstance(effect, ToClient):
                # nested in a reply without envelopes, it is the client's to judge
                parse_op_msg(effect.data)
                assert effect.data == answer


def _bad_replies() -> dict[str, bytes]:
    cases = {
        "to nobody": reply({"ok": 1}, 5),
        "an old reply to a command": legacy_reply({"ok": 1}, 70),
        "an old query": legacy_query({"isMaster": 1}),
        "compressed": framed(struct.pack("<iib", 2013, 5, 0) + bytes(9), 2012),
        "a body alone in an array": flagged(0, b""),
    }
    forgeries: dict[str, Callable[[bytes], bytes]] = {
        "magic": lambda data: patched(data, 2, b"\x02"),
        "format": lambda data: patched(data, 2, b"\xff"),
        "mode": lambda data: patched(data, 3, b"\x02"),
        "unknown mode": lambda data: patched(data, 3, b"\x03"),
        "class": lambda data: patched(data, 4, struct.pack(">I", 2)),
        "class zero": lambda data: patched(data, 4, bytes(4)),
        "unknown class": lambda data: patched(data, 4, b"\xff" * 4),
        "version": lambda data: patched(data, 8, struct.pack(">I", 2)),
        "version zero": lambda data: patched(data, 8, bytes(4)),
        "type": lambda data: patched(data, 12, b"\x03"),
        "type null": lambda data: patched(data, 12, b"\x0a"),
        "type unknown": lambda data: patched(data, 12, b"\x42"),
        "siv": lambda data: patched(data, 13, bytes([data[13] ^ 0x80])),
        "last byte of siv": lambda data: patched(data, 28, bytes([data[28] ^ 1])),
        "ciphertext": lambda data: patched(data, 29, bytes([data[29] ^ 1])),
        "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        "cut to its magic": lambda data: data[:2],
        "cut to its header": lambda data: data[:13],
        "cut by one": lambda data: data[:-1],
        "longer by one": lambda data: data + b"\0",
        "siv of another": lambda data: data[:13] + envelope("nhs", "other")[13:29] + data[29:],
    }
    for where, forge in forgeries.items():
        for place in ("top", "array"):
            forged = Binary(forge(bytes(SEALED)), SUBTYPE)
            body: dict[str, Any] = {"good": SEALED, "bad": forged if place == "top" else [{"x": forged}]}
            cases[f"envelope with another {where}, {place}"] = reply({"ok": 1, "doc": body}, 70)
    return cases


FROM_SERVER = _bad_replies()


@pytest.mark.parametrize("name", FROM_SERVER)
def test_a_bad_reply_is_withheld_as_a_whole(name: str) -> None:
    talk = session()
    talk.client_data(FIND)
    effects = talk.server_data(FROM_SERVER[name])
    if not any(isinstance(effect, Close | ToClient) for effect in effects):
        effects = talk.keys_loaded()  # a class or version that a newer keyring might have
    assert_closed_or_answered(effects)
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert SEALED not in written(effects, ToClient)


# One level of nesting around a value, outermost first: `o` an object or `a` an array, the name in it, and
# after `+` the names of elements beside it.
_FILTER = b"find", b"filter"
_PIPELINE = b"aggregate", b"pipeline"
_DEEP: dict[str, tuple[tuple[bytes, bytes], str]] = {
    "$and": (_FILTER, "o$and a0"),
    "$nor": (_FILTER, "o$nor a0 o$or a0"),
    "$not": (_FILTER, "onhs_number o$not"),
    "$not in itself": (_FILTER, "o$not"),
    "$elemMatch": (_FILTER, "ocontact o$elemMatch"),
    "$elemMatch in itself": (_FILTER, "o$elemMatch"),
    "$all": (_FILTER, "ocontact o$all a0 o$elemMatch"),
    "a covered path": (_FILTER, "ocontact"),
    "an uncovered path": (_FILTER, "oa"),
    "$expr": (_FILTER, "o$expr o$and a0"),
    "arrays": ((b"find", b"filter"), "otags a0"),
    "documents": ((b"insert", b"documents"), "a0"),
    "covered documents": ((b"insert", b"documents"), "a0 o0"),
    "covered arrays": ((b"insert", b"documents"), "a0 otags a0"),
    "uncovered documents": ((b"insert", b"documents"), "a0 ou"),
    "random documents": ((b"insert", b"documents"), "a0 onotes"),
    "projection": ((b"find", b"projection"), "oa"),
    "sort": ((b"find", b"sort"), "oa"),
    "an update": ((b"update", b"updates"), "a0 oq+u"),
    "$set": ((b"findAndModify", b"update"), "o$set oa"),
    "$push": ((b"findAndModify", b"update"), "o$push otags o$each a0"),
    "$pull": ((b"findAndModify", b"update"), "o$pull ocontact"),
    "an update pipeline": ((b"findAndModify", b"update"), "a0 o$set"),
    "array filters": ((b"findAndModify", b"arrayFilters"), "a0 o$and"),
    "an index filter": ((b"createIndexes", b"indexes"), "a0 opartialFilterExpression+key"),
    "a validator": ((b"create", b"validator"), "o$and a0"),
    "$facet": (_PIPELINE, "a0 o$facet oa"),
    "$lookup": (_PIPELINE, "a0 o$lookup opipeline+from,as"),
    "$unionWith": (_PIPELINE, "a0 o$unionWith opipeline+coll"),
    "$match": (_PIPELINE, "a0 o$match"),
    "explain": ((b"explain", b"x"), "oexplain"),
    "hello": ((b"hello", b"client"), "oa"),
    "a login": ((b"hello", b"speculativeAuthenticate"), "oa"),
}
_EXPRESSIONS = {
    "$abs": "o$abs",
    "$add": "o$add a0",
    "$eq": "o$eq a0+1",
    "$in": "o$in a0+1",
    "$cond": "o$cond oif+then,else",
    "$ifNull": "o$ifNull a0+1",
    "$let": "o$let ovars+in ox",
    "$let in": "o$let oin+vars",
    "$switch": "o$switch obranches a0 ocase+then",
    "$map": "o$map oin+input",
    "$filter": "o$filter ocond+input",
    "$reduce": "o$reduce oin+input,initialValue",
    "$literal": "o$literal oa",
    "$mergeObjects": "o$mergeObjects a0",
    "$setUnion": "o$setUnion a0",
    "a document": "oa",
    "an array": "a0",
    "$getField": "o$getField oinput+field",
    "$setField": "o$setField ovalue+field,input",
    "$function": "o$function oargs",
}
# Around the 200 levels that a document may have, with one to four of them a level here; and far beyond.
LEVELS = [3, 48, 50, 65, 67, 97, 100, 150, 195, 198, 199, 200, 201, 1000]
EXPRESSION_LEVELS = [3, 49, 66, 98, 150, 197, 201, 1000]


def around(levels: int, tokens: str, kind: int, value: bytes) -> tuple[int, bytes]:
    """A value inside `levels` levels, built from the inside out: recursion would end before the levels do."""
    for token in list(reversed(tokens.split())) * levels:
        name, _, beside = token[1:].partition("+")
        siblings = [element(BsonType.INT, each.encode(), int32(1)) for each in beside.split(",") if each]
        value = document(element(kind, name.encode(), value), *siblings)
        kind = BsonType.ARRAY if token[0] == "a" else BsonType.OBJECT
    return kind, value


def deep_command(name: bytes, collection: bytes, argument: bytes, kind: int, value: bytes) -> bytes:
    """A command with one deep argument."""
    first = element(2, name, string(collection))
    if name == b"explain":
        first = element(kind, name, value)
    database = element(2, b"$db", string(b"clinic"))
    return made_op_msg(document(first, element(kind, argument, value), database)).message


def assert_settled(message: bytes) -> None:
    """It passes and is well-formed, or it is answered, or it ends the session."""
    effects = session().client_data(message)
    if isinstance(effects[-1], ToServer):
        assert effects[-1].data[12:16] == int32(2013)
        assert_parses(effects[-1].data)
    else:
        assert_closed_or_answered(effects)


@pytest.mark.parametrize("name", _DEEP)
@pytest.mark.parametrize("collection", [b"patients", b"wards"])
def test_nesting_of_any_depth_is_passed_on_refused_or_ends_the_session(name: str, collection: bytes) -> None:
    (command_name, argument), tokens = _DEEP[name]
    for levels in LEVELS:
        for inner in ((2, string(b"x")), (3, encoded({"nhs_number": "x"}))):
            kind, value = around(levels, tokens, *inner)
            assert_settled(deep_command(command_name, collection, argument, kind, value))


@pytest.mark.parametrize("name", _EXPRESSIONS)
@pytest.mark.parametrize("stage", [b"$project", b"$match"])
def test_expressions_of_any_depth_are_passed_on_refused_or_end_the_session(name: str, stage: bytes) -> None:
    for levels in EXPRESSION_LEVELS:
        for inner in ((2, string(b"$tags")), (16, int32(1))):
            kind, value = around(levels, _EXPRESSIONS[name], *inner)
            field = b"$expr" if stage == b"$match" else b"a"
            staged = document(element(BsonType.OBJECT, stage, document(element(kind, field, value))))
            pipeline = document(element(BsonType.OBJECT, b"0", staged))
            assert_settled(deep_command(b"aggregate", b"patients", b"pipeline", BsonType.ARRAY, pipeline))


@pytest.mark.parametrize("tokens", ["oa", "a0", "oa a0"])
def test_replies_of_any_depth_pass_or_end_the_session(tokens: str) -> None:
    for levels in LEVELS:
        for inner in ((2, string(b"x")), (BsonType.BIN_DATA, binary(SUBTYPE, SEALED))):
            kind, value = around(levels, tokens, *inner)
            talk = session()
            talk.client_data(FIND)
            message = made_op_msg(document(element(kind, b"a", value)), response_to=70).message
            effects = talk.server_data(message)
            assert isinstance(effects[0], ToClient) or isinstance(effects[-1], Close)
            assert SEALED not in written(effects, ToClient)


_EXPRESSION = {"$expr": {"$eq": ["$nhs_number", "x"]}}
_UPDATE = {"q": {"tags": "x"}, "u": {"$set": {"tags.$[]": "y"}}}
VALID_MESSAGES = [
    command(INSERT, after={"documents": [{"_id": 1, "nhs_number": "x"}]}),
    command({**INSERT, "documents": [{"nhs_number": "x", "tags": ["a", ["b"]], "contact": {"email": "y"}}]}),
    command(
        INSERT,
        after={"documents": [{"notes": {"a": 1}, "u": Code("1", {"a": 1})}, {"visits": 3}]},
        flags=1,
    ),
    command({"find": "patients", "filter": {"$or": [{"nhs_number": {"$in": ["x", "y"]}}]}, "$db": "clinic"}),
    command({"update": "patients", "$db": "clinic"}, first={"updates": [_UPDATE]}, flags=2),
    command({"aggregate": "patients", "pipeline": [{"$match": _EXPRESSION}], "cursor": {}, "$db": "clinic"}),
    command(
        {"bulkWrite": 1, "$db": "admin"},
        first={"nsInfo": [{"ns": "clinic.patients"}, {"ns": "clinic.wards"}]},
        after={"ops": [{"insert": 0, "document": {"nhs_number": "x"}}, {"insert": 1, "document": {"a": 1}}]},
    ),
    command({"getMore": Int64(5), "collection": "patients", "$db": "clinic"}),
    command({"hello": 1, "compression": ["zlib"], "speculativeAuthenticate": {"saslStart": 1}}),
    legacy_query({"isMaster": 1, "compression": ["zlib"]}),
    command({"ping": 1, "$db": "admin"}),
]  # fmt: skip
VALID_REPLIES = [
    reply({"cursor": {"firstBatch": [{"a": SEALED, "b": [sealed("visits", 1)]}], "id": 0}, "ok": 1.0}, 70),
    reply({"a": sealed_randomly("secret", {"x": 1}), "ok": 1.0}, 70, flags=1),
    reply({"ok": 1.0, "hosts": ["a:1"], "me": "a:1"}, 70),
]


@st.composite
def mutated(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """A valid message with some bytes flipped, inserted, deleted or overwritten; often of a right length."""
    data = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case 2:
                del data[at : at + draw(st.integers(1, 4))]
            case _:
                data[at : at + 4] = draw(
                    st.sampled_from([int32(-1), int32(0), int32(5), int32(2**31 - 1), b"\0"])
                )
        if len(data) < 24:
            break
    if draw(st.integers(0, 3)):
        data[0:4] = int32(len(data))
    return bytes(data)


@settings(max_examples=500)
@given(mutated(VALID_MESSAGES))
def test_a_mutated_message_never_raises_and_what_passes_is_well_formed(message: bytes) -> None:
    talk = session()
    effects = talk.client_data(PING) + talk.client_data(message) + talk.client_data(LATER) + talk.client_eof()
    event("passed" if len(written(effects, ToServer)) > len(PING + LATER) else "stopped")
    assert_parses(written(effects, ToServer))
    assert sum(isinstance(effect, Close) for effect in effects) == 1
    assert isinstance(effects[-1], Close)


@settings(max_examples=500)
@given(
    mutated(VALID_REPLIES),
    st.sampled_from([FIND, command({"hello": 1}, 70), legacy_query({"isMaster": 1}, 70)]),
)
def test_a_mutated_reply_never_raises_and_what_passes_is_well_formed(message: bytes, asked: bytes) -> None:
    talk = session()
    talk.client_data(asked)
    effects = talk.server_data(message)
    if any(isinstance(effect, NeedKeys) for effect in effects):
        effects += talk.keys_loaded()
    effects += talk.server_eof()
    event("passed" if written(effects, ToClient) else "stopped")
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert sum(isinstance(effect, Close) for effect in effects) == 1
    assert isinstance(effects[-1], Close)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_noise_never_raises(data: bytes) -> None:
    for feed in (session().client_data, session().server_data):
        effects = feed(data)
        assert not any(isinstance(effect, ToServer | ToClient) for effect in effects)
