"""Reads between two keys of an index (`min`, `max`), where the server does it right for arrays.

MongoDB finds `{path: {$gte: a, $lte: b}}` by one of the two bounds only where the path leads through an
array: different elements may meet them. Between two keys it reads no more than what lies between.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE, binary
from sealwire.keys.frontier.record import DATABASE
from sealwire.keys.frontier.versions import StoredForm
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.windows.order import Range
from sealwire.sidecars.raw_documents import document
from sealwire.wire import kinds

_DECODED: Final = CodecOptions[dict[str, Any]]()
_NAME: Final = "by_value"
_PATH: Final = "a.b"
# Two lengths, so that an order by bytes alone shows; the last document has an element on both sides.
_TRIED: Final = ([b"x1"], [b"x3", b"b"], [b"x5"], [b"ccc"], [b"x0", b"x9"])
_LOW, _BEHIND = (StoredForm(kinds.BIN_DATA, binary(each)) for each in (b"x1", b"x5"))
_BETWEEN: Final = Range((kinds.BIN_DATA,), _LOW, behind=_BEHIND)
_FOUND: Final = {0, 1}

_NAN: Final = StoredForm(kinds.DOUBLE, b"\0\0\0\0\0\0\xf8\x7f")
_NO_TEXT: Final = StoredForm(kinds.STRING, b"\1\0\0\0\0")
_NO_FIELD: Final = StoredForm(kinds.OBJECT, document())
_NO_BYTES: Final = StoredForm(kinds.BIN_DATA, b"\0\0\0\0\0")
_FIRST_ID: Final = StoredForm(kinds.OBJECT_ID, bytes(12))
_FALSE: Final = StoredForm(kinds.BOOL, b"\0")
_FIRST_DATE: Final = StoredForm(kinds.DATE, (1 << 63).to_bytes(8, "little"))
_FIRST_TIMESTAMP: Final = StoredForm(kinds.TIMESTAMP, bytes(8))
_WHOLE: Final[Mapping[int, tuple[StoredForm, StoredForm]]] = {
    kinds.INT: (_NAN, _NO_TEXT),
    kinds.LONG: (_NAN, _NO_TEXT),
    kinds.DOUBLE: (_NAN, _NO_TEXT),
    kinds.STRING: (_NO_TEXT, _NO_FIELD),
    kinds.BIN_DATA: (_NO_BYTES, _FIRST_ID),
    kinds.OBJECT_ID: (_FIRST_ID, _FALSE),
    kinds.BOOL: (_FALSE, _FIRST_DATE),
    kinds.DATE: (_FIRST_DATE, _FIRST_TIMESTAMP),
}
"""By a class's type: the first value that an index has of it, and the first one behind it.

Source: MongoDB's manual, "BSON comparison order".
"""


def bounded(index: str, path: str, within: Range) -> Mapping[str, Any]:
    """Options of `find` that read a range of an index which has the path alone."""
    first, behind = _WHOLE[within.types[0]]
    # `max` is not among what is read
    return {
        "hint": index,
        "min": _key(path, within.low or first),
        "max": _key(path, within.behind or behind),
    }


def _key(path: str, form: StoredForm) -> RawBSONDocument:
    return RawBSONDocument(document(b"%c%b\0%b" % (form.kind, path.encode(), form.data)))


def keeps_bounds(client: Client) -> bool:
    """Whether the server answers such a read right: tried on a few documents of its own, which are removed.

    Raises what the driver raises. Cost: five commands.
    """
    tried = client.get_database(DATABASE, _DECODED).get_collection(f"tried_{secrets.token_hex(8)}")
    try:
        tried.create_index([(_PATH, 1)], name=_NAME)
        documents: list[Any] = [
            {"_id": number, "a": [{"b": Binary(each, SUBTYPE)} for each in values]}
            for number, values in enumerate(_TRIED)
        ]
        tried.insert_many(documents)
        found = [each["_id"] for each in tried.find({}, **bounded(_NAME, _PATH, _BETWEEN))]
    except OperationFailure:
        return False
    finally:
        tried.drop()
    return set(found) == _FOUND and len(found) == len(_FOUND)
