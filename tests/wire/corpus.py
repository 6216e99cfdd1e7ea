"""A corpus of BSON documents made by hand: every type of bsonspec.org 1.1, and ways to get each wrong.

`VALID` maps a name to the bytes of a document that must pass every room byte for byte.
`INVALID` maps a name to bytes that are not one, with the reason that `raw_bson.validate` must give.
The builders are public: they write exactly what they are told, so tests can make wrong documents too.
"""

import struct

from sealwire.wire.errors import WireReason
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.bson_types import BsonType


def int32(value: int) -> bytes:
    """Four bytes, little-endian, signed."""
    return struct.pack("<i", value)


def int64(value: int) -> bytes:
    """Eight bytes, little-endian, signed."""
    return struct.pack("<q", value)


def document(*elements: bytes) -> bytes:
    """A document (or the value of an array) of these encoded elements."""
    content = b"".join(elements)
    return int32(len(content) + 5) + content + b"\0"


def element(kind: int, name: bytes, value: bytes = b"") -> bytes:
    """One element: type byte, name, value."""
    return bytes([kind]) + name + b"\0" + value


def string(data: bytes) -> bytes:
    """The value of a string, JavaScript or symbol element."""
    return int32(len(data) + 1) + data + b"\0"


def binary(subtype: int, data: bytes) -> bytes:
    """The value of a binary element, with the second length that subtype 2 has."""
    if subtype == 2:
        data = int32(len(data)) + data
    return int32(len(data)) + bytes([subtype]) + data


def code_with_scope(code: bytes, scope: bytes) -> bytes:
    """The value of a JavaScript-with-scope element."""
    content = string(code) + scope
    return int32(len(content) + 4) + content


def nested(levels: int, kind: int = BsonType.OBJECT) -> bytes:
    """A document with `levels` documents or arrays inside each other."""
    inner = document()
    for _ in range(levels):
        inner = document(element(kind, b"0", inner))
    return inner


_OID = bytes.fromhex("56e1fc72e0c917e9c4714161")
_SCOPE = document(element(BsonType.INT, b"x", int32(1)))


def _one(kind: int, value: bytes = b"", name: bytes = b"a") -> bytes:
    return document(element(kind, name, value))


def _decimal(high: int, low: int) -> bytes:
    """IEEE 754 decimal128 in its binary integer form, low half first."""
    return struct.pack("<QQ", low, high)


_NUMBERS: dict[str, bytes] = {
    "double one": _one(BsonType.DOUBLE, struct.pack("<d", 1.0)),
    "double minus zero": _one(BsonType.DOUBLE, struct.pack("<d", -0.0)),
    "double smallest subnormal": _one(BsonType.DOUBLE, bytes.fromhex("0100000000000000")),
    "double largest": _one(BsonType.DOUBLE, bytes.fromhex("ffffffffffffef7f")),
    "double infinity": _one(BsonType.DOUBLE, bytes.fromhex("000000000000f07f")),
    "double minus infinity": _one(BsonType.DOUBLE, bytes.fromhex("000000000000f0ff")),
    "double quiet nan": _one(BsonType.DOUBLE, bytes.fromhex("000000000000f87f")),
    "double negative nan": _one(BsonType.DOUBLE, bytes.fromhex("000000000000f8ff")),
    "double nan with payload": _one(BsonType.DOUBLE, bytes.fromhex("120000000000f87f")),
    "double signalling nan": _one(BsonType.DOUBLE, bytes.fromhex("010000000000f07f")),
    "int32 zero": _one(BsonType.INT, int32(0)),
    "int32 smallest": _one(BsonType.INT, int32(-(2**31))),
    "int32 largest": _one(BsonType.INT, int32(2**31 - 1)),
    "int64 that fits an int32": _one(BsonType.LONG, int64(1)),
    "int64 smallest": _one(BsonType.LONG, int64(-(2**63))),
    "int64 largest": _one(BsonType.LONG, int64(2**63 - 1)),
    "decimal one": _one(BsonType.DECIMAL, _decimal(0x3040_0000_0000_0000, 1)),
    "decimal one with trailing zero": _one(BsonType.DECIMAL, _decimal(0x303E_0000_0000_0000, 10)),
    "decimal minus zero": _one(BsonType.DECIMAL, _decimal(0xB040_0000_0000_0000, 0)),
    "decimal largest": _one(BsonType.DECIMAL, _decimal(0x5FFF_ED09_BEAD_87C0, 0x378D_8E63_FFFF_FFFF)),
    "decimal smallest subnormal": _one(BsonType.DECIMAL, _decimal(0, 1)),
    "decimal infinity": _one(BsonType.DECIMAL, _decimal(0x7800_0000_0000_0000, 0)),
    "decimal minus infinity": _one(BsonType.DECIMAL, _decimal(0xF800_0000_0000_0000, 0)),
    "decimal nan": _one(BsonType.DECIMAL, _decimal(0x7C00_0000_0000_0000, 0)),
    "decimal signalling nan": _one(BsonType.DECIMAL, _decimal(0x7E00_0000_0000_0000, 0)),
    "decimal nan with payload": _one(BsonType.DECIMAL, _decimal(0x7C00_0000_0000_0000, 0x12)),
    "decimal non-canonical infinity": _one(BsonType.DECIMAL, _decimal(0x7BFF_FFFF_FFFF_FFFF, 0xFFFF)),
    # a coefficient of 10^34, one more than 34 digits can say: read as zero
    "decimal non-canonical coefficient": _one(
        BsonType.DECIMAL, _decimal(0x3041_ED09_BEAD_87C0, 0x378D_8E64_0000_0000)
    ),
    "decimal non-canonical large form": _one(BsonType.DECIMAL, _decimal(0x6C10_0000_0000_0000, 0)),
}

_TEXT: dict[str, bytes] = {
    "string empty": _one(BsonType.STRING, string(b"")),
    "string ascii": _one(BsonType.STRING, string(b"943 476 5919")),
    "string two, three and four byte utf-8": _one(BsonType.STRING, string("é☃𝄞".encode())),
    "string embedded nul": _one(BsonType.STRING, string(b"ab\0bab\0")),
    "string of nuls": _one(BsonType.STRING, string(b"\0\0\0")),
    "string invalid utf-8": _one(BsonType.STRING, string(b"\xe9\xff")),
    "string lone surrogate": _one(BsonType.STRING, string(b"\xed\xa0\x80")),
    "string overlong nul": _one(BsonType.STRING, string(b"\xc0\x80")),
    "string with control characters": _one(BsonType.STRING, string(bytes(range(1, 32)))),
    "symbol": _one(BsonType.SYMBOL, string(b"symbol")),
    "symbol empty": _one(BsonType.SYMBOL, string(b"")),
    "symbol embedded nul": _one(BsonType.SYMBOL, string(b"a\0b")),
    "javascript": _one(BsonType.JAVASCRIPT, string(b"function () { return 1; }")),
    "javascript empty": _one(BsonType.JAVASCRIPT, string(b"")),
    "javascript with empty scope": _one(BsonType.JAVASCRIPT_WITH_SCOPE, code_with_scope(b"abcd", document())),
    "javascript with scope": _one(BsonType.JAVASCRIPT_WITH_SCOPE, code_with_scope(b"x", _SCOPE)),
    "javascript with scope in scope": _one(
        BsonType.JAVASCRIPT_WITH_SCOPE,
        code_with_scope(b"", _one(BsonType.JAVASCRIPT_WITH_SCOPE, code_with_scope(b"\0", _SCOPE))),
    ),
    "regex empty": _one(BsonType.REGEX, b"\0\0"),
    "regex without options": _one(BsonType.REGEX, b"^ab/c\0\0"),
    "regex with options": _one(BsonType.REGEX, b"abc\0imsux\0"),
    "regex with options out of order": _one(BsonType.REGEX, b"abc\0xmi\0"),
    "regex with unknown options": _one(BsonType.REGEX, b"abc\0qz\0"),
    "regex invalid utf-8": _one(BsonType.REGEX, b"\xff\0i\0"),
}

_OTHER: dict[str, bytes] = {
    "object id": _one(BsonType.OBJECT_ID, _OID),
    "object id zeros": _one(BsonType.OBJECT_ID, bytes(12)),
    "db pointer": _one(BsonType.DB_POINTER, string(b"clinic.patients") + _OID),
    "db pointer empty namespace": _one(BsonType.DB_POINTER, string(b"") + _OID),
    "bool false": _one(BsonType.BOOL, b"\0"),
    "bool true": _one(BsonType.BOOL, b"\x01"),
    "null": _one(BsonType.NULL),
    "undefined": _one(BsonType.UNDEFINED),
    "min key": _one(BsonType.MIN_KEY),
    "max key": _one(BsonType.MAX_KEY),
    "date epoch": _one(BsonType.DATE, int64(0)),
    "date before epoch": _one(BsonType.DATE, int64(-284643869501)),
    "date in year 9999": _one(BsonType.DATE, int64(253402300799999)),
    "date past year 9999": _one(BsonType.DATE, int64(253402300800000)),
    "date smallest": _one(BsonType.DATE, int64(-(2**63))),
    "date largest": _one(BsonType.DATE, int64(2**63 - 1)),
    "timestamp": _one(BsonType.TIMESTAMP, struct.pack("<II", 42, 123456789)),
    "timestamp high bits": _one(BsonType.TIMESTAMP, struct.pack("<II", 2**32 - 1, 2**32 - 1)),
    "timestamp zero": _one(BsonType.TIMESTAMP, bytes(8)),
} | {
    f"binary subtype {subtype:#04x}": _one(BsonType.BIN_DATA, binary(subtype, bytes(range(16))))
    for subtype in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0A, 0x7F, 0x80, 0xFF)
} | {
    "binary empty": _one(BsonType.BIN_DATA, binary(0, b"")),
    "binary subtype 2 empty": _one(BsonType.BIN_DATA, binary(2, b"")),
    "binary uuid of a wrong length": _one(BsonType.BIN_DATA, binary(4, b"abc")),
    "binary subtype 6 empty": _one(BsonType.BIN_DATA, binary(6, b"")),
}  # fmt: skip

_ONE = element(BsonType.INT, b"0", int32(1))
_TWO = element(BsonType.STRING, b"1", string(b"two"))

_STRUCTURE: dict[str, bytes] = {
    "document empty": document(),
    "document in document": _one(BsonType.OBJECT, document(_TWO)),
    "empty document in document": _one(BsonType.OBJECT, document()),
    "array empty": _one(BsonType.ARRAY, document()),
    "array": _one(BsonType.ARRAY, document(_ONE, _TWO)),
    "array in array": _one(BsonType.ARRAY, document(element(BsonType.ARRAY, b"0", document(_ONE)))),
    "array with indexes out of order": _one(BsonType.ARRAY, document(_TWO, _ONE)),
    "array with repeated indexes": _one(BsonType.ARRAY, document(_ONE, _ONE)),
    "array with names for indexes": _one(BsonType.ARRAY, document(element(BsonType.BOOL, b"x", b"\1"), _TWO)),
    "array with empty index names": _one(
        BsonType.ARRAY, document(element(BsonType.BOOL, b"", b"\0"), element(BsonType.BOOL, b"", b"\1"))
    ),
    "array of documents": _one(
        BsonType.ARRAY,
        document(element(BsonType.OBJECT, b"0", document(_ONE)), element(BsonType.OBJECT, b"1", _SCOPE)),
    ),
    "keys repeated": document(
        element(BsonType.INT, b"a", int32(1)), element(BsonType.STRING, b"a", string(b"again"))
    ),
    "key empty": _one(BsonType.INT, int32(1), name=b""),
    "keys empty and repeated": document(
        element(BsonType.BOOL, b"", b"\0"), element(BsonType.BOOL, b"", b"\1")
    ),
    "key with dot": _one(BsonType.INT, int32(1), name=b"address.postcode"),
    "key of a dot": _one(BsonType.INT, int32(1), name=b"."),
    "key with leading dollar": _one(BsonType.INT, int32(1), name=b"$set"),
    "key of a dollar": _one(BsonType.INT, int32(1), name=b"$"),
    "key non-ascii": _one(BsonType.INT, int32(1), name="überweisung☃".encode()),
    "key invalid utf-8": _one(BsonType.INT, int32(1), name=b"\xff\xfe"),
    "key long": _one(BsonType.INT, int32(1), name=b"k" * 1000),
    "dbref": _one(
        BsonType.OBJECT,
        document(
            element(BsonType.STRING, b"$ref", string(b"patients")), element(BsonType.OBJECT_ID, b"$id", _OID)
        ),
    ),
    "extended json look-alike": _one(
        BsonType.OBJECT, _one(BsonType.STRING, string(b"1"), name=b"$numberLong")
    ),
    "deep documents": nested(MAX_DEPTH),
    "deep arrays": _one(BsonType.ARRAY, nested(MAX_DEPTH - 1, BsonType.ARRAY)),
}


def _every_type() -> bytes:
    """One document with the first element of each of the documents above that has one."""
    singles = (_NUMBERS | _TEXT | _OTHER).values()
    contents = [single[4:-1] for single in singles]
    return document(*(bytes([c[0]]) + b"f%d" % index + c[2:] for index, c in enumerate(contents)))


VALID: dict[str, bytes] = _NUMBERS | _TEXT | _OTHER | _STRUCTURE | {"every type": _every_type()}

_LENGTH = WireReason.BSON_LENGTH
_STRING = WireReason.BSON_STRING
_VALUE = WireReason.BSON_VALUE
_END = WireReason.BSON_TERMINATOR

_BAD_EXTENT: dict[str, tuple[bytes, WireReason]] = {
    "nothing": (b"", _LENGTH),
    "a length alone": (int32(4), _LENGTH),
    "length zero": (int32(0) + b"\0", _LENGTH),
    "length four": (int32(4) + b"\0", _LENGTH),
    "length negative": (int32(-1) + b"\0", _LENGTH),
    "length smallest": (int32(-(2**31)) + b"\0", _LENGTH),
    "length one too long": (int32(6) + b"\0", _LENGTH),
    "length largest": (int32(2**31 - 1) + b"\0", _LENGTH),
    "document without terminator": (int32(5) + b"\x01", _END),
    "terminator cut off": (document(_ONE)[:-1] + b"\x01", _END),
    "length one too short": (int32(11) + _one(BsonType.INT, int32(0x0100_0000))[4:], _END),
    "terminator in the middle": (document(b"\0", _ONE), WireReason.BSON_TYPE),
    "name without NUL": (int32(7) + b"\x0aa\0", _STRING),
    "type byte alone": (document(b"\x0a"), _STRING),
    "type byte unknown 0x14": (_one(0x14, bytes(16)), WireReason.BSON_TYPE),
    "type byte unknown 0x7e": (_one(0x7E), WireReason.BSON_TYPE),
    "type byte unknown 0x80": (_one(0x80), WireReason.BSON_TYPE),
    "too deep documents": (nested(MAX_DEPTH + 1), WireReason.BSON_DEPTH),
    "too deep arrays": (nested(MAX_DEPTH + 1, BsonType.ARRAY), WireReason.BSON_DEPTH),
}

_CUT_FIXED: dict[str, tuple[bytes, WireReason]] = {
    f"{kind.name.lower()} cut off": (_one(kind, bytes(size - 1)), _LENGTH)
    for kind, size in {
        BsonType.DOUBLE: 8,
        BsonType.OBJECT_ID: 12,
        BsonType.BOOL: 1,
        BsonType.DATE: 8,
        BsonType.INT: 4,
        BsonType.TIMESTAMP: 8,
        BsonType.LONG: 8,
        BsonType.DECIMAL: 16,
    }.items()
}

_BAD_STRINGS: dict[str, tuple[bytes, WireReason]] = {
    f"{kind.name.lower()} {what}": (_one(kind, value), reason)
    for kind in (BsonType.STRING, BsonType.SYMBOL, BsonType.JAVASCRIPT)
    for what, value, reason in (
        ("without length", b"\0\0\0", _LENGTH),
        ("length zero", int32(0) + b"\0", _LENGTH),
        ("length negative", int32(-1) + b"\0", _LENGTH),
        ("length smallest", int32(-(2**31)) + b"\0", _LENGTH),
        ("length takes the terminator", int32(3) + b"b\0", _LENGTH),
        ("length overruns", int32(2**31 - 1) + b"b\0", _LENGTH),
        ("without NUL", int32(2) + b"bb", _STRING),
    )
}

_BAD_VARIABLE: dict[str, tuple[bytes, WireReason]] = {
    "binary without length": (_one(BsonType.BIN_DATA, bytes(4)), _LENGTH),
    "binary length negative": (_one(BsonType.BIN_DATA, int32(-1) + b"\0ab"), _LENGTH),
    "binary length overruns": (_one(BsonType.BIN_DATA, int32(3) + b"\0ab"), _LENGTH),
    "binary subtype 2 of no bytes": (_one(BsonType.BIN_DATA, int32(0) + b"\x02"), _VALUE),
    "binary subtype 2 without inner length": (_one(BsonType.BIN_DATA, int32(3) + b"\x02abc"), _VALUE),
    "binary subtype 2 inner length long": (
        _one(BsonType.BIN_DATA, int32(6) + b"\x02" + int32(3) + b"ab"),
        _VALUE,
    ),
    "binary subtype 2 inner length short": (
        _one(BsonType.BIN_DATA, int32(6) + b"\x02" + int32(1) + b"ab"),
        _VALUE,
    ),
    "binary subtype 2 inner length negative": (
        _one(BsonType.BIN_DATA, int32(6) + b"\x02" + int32(-1) + b"ab"),
        _VALUE,
    ),
    "bool two": (_one(BsonType.BOOL, b"\x02"), _VALUE),
    "bool 255": (_one(BsonType.BOOL, b"\xff"), _VALUE),
    "regex pattern without NUL": (_one(BsonType.REGEX, b"abc"), _STRING),
    "regex options without NUL": (_one(BsonType.REGEX, b"abc\0im"), _STRING),
    "db pointer without id": (_one(BsonType.DB_POINTER, string(b"b")), _LENGTH),
    "db pointer id cut off": (_one(BsonType.DB_POINTER, string(b"b") + _OID[:-1]), _LENGTH),
    "db pointer string without NUL": (_one(BsonType.DB_POINTER, int32(2) + b"bb" + _OID), _STRING),
    "db pointer string length zero": (_one(BsonType.DB_POINTER, int32(0) + b"\0" + _OID), _LENGTH),
}

_GOOD_SCOPE = code_with_scope(b"x", _SCOPE)


def _scope(value: bytes) -> bytes:
    return _one(BsonType.JAVASCRIPT_WITH_SCOPE, value)


_BAD_SCOPE: dict[str, tuple[bytes, WireReason]] = {
    "scope total cut off": (_scope(int32(14)), _LENGTH),
    "scope total of two bytes": (_scope(b"\x0e\0"), _LENGTH),
    "scope total negative": (_scope(int32(-1) + _GOOD_SCOPE[4:]), _LENGTH),
    "scope total below the smallest": (_scope(int32(13) + _GOOD_SCOPE[4:]), _LENGTH),
    "scope total one short": (_scope(int32(len(_GOOD_SCOPE) - 1) + _GOOD_SCOPE[4:]), _LENGTH),
    "scope total one long": (_scope(int32(len(_GOOD_SCOPE) + 1) + _GOOD_SCOPE[4:]), _LENGTH),
    "scope total counts a byte more": (
        _scope(int32(len(_GOOD_SCOPE) + 1) + _GOOD_SCOPE[4:] + b"\0"),
        _LENGTH,
    ),
    "scope code without NUL": (_scope(int32(15) + int32(2) + b"xx" + document()), _STRING),
    "scope code length eats the scope": (_scope(int32(14) + int32(6) + b"\0" + document()), _LENGTH),
    "scope document without terminator": (_scope(int32(14) + string(b"") + int32(5) + b"\x01"), _END),
    "scope document with bad bool": (_scope(code_with_scope(b"", _one(BsonType.BOOL, b"\x02"))), _VALUE),
    "scope document too deep": (_scope(code_with_scope(b"", nested(MAX_DEPTH))), WireReason.BSON_DEPTH),
}

_BAD_CHILD: dict[str, tuple[bytes, WireReason]] = {
    f"{kind.name.lower()} child {what}": (_one(kind, value), reason)
    for kind in (BsonType.OBJECT, BsonType.ARRAY)
    for what, value, reason in (
        ("without length", b"\x05\0\0", _LENGTH),
        ("length four", int32(4) + b"\0", _LENGTH),
        ("length negative", int32(-5) + b"\0", _LENGTH),
        ("length overruns its parent", int32(7) + b"\0", _LENGTH),
        ("without terminator", int32(5) + b"\x01", _END),
        ("with an unknown type", _one(0x42), WireReason.BSON_TYPE),
        ("with a cut string", _one(BsonType.STRING, int32(9) + b"\0"), _LENGTH),
    )
}

INVALID: dict[str, tuple[bytes, WireReason]] = (
    _BAD_EXTENT | _CUT_FIXED | _BAD_STRINGS | _BAD_VARIABLE | _BAD_SCOPE | _BAD_CHILD
)
