"""Reads between two keys of an index (`min`, `max`), where the server does it right for arrays.

MongoDB finds `{path: {$gte: a, $lte: b}}` by one of the two bounds only where the path leads through an
array: different elements may meet them. Between two keys it reads no more than what lies between.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

from bson.binary import Binary
from bson.codec_options import CodecOptions
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.record import DATABASE
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.windows.places import Range

_DECODED: Final = CodecOptions[dict[str, Any]]()
_NAME: Final = "by_value"
_PATH: Final = "a.b"
# Two lengths, so that an order by bytes alone shows; the last document has an element on both sides.
_TRIED: Final = ([b"x1"], [b"x3", b"b"], [b"x5"], [b"ccc"], [b"x0", b"x9"])
_BETWEEN: Final = Range(b"x1", b"x4")
_FOUND: Final = {0, 1}


def bounded(index: str, path: str, within: Range) -> Mapping[str, Any]:
    """Options of `find` that read a range of an index which has the path alone."""
    options: dict[str, Any] = {"hint": index, "min": {path: Binary(within.low, SUBTYPE)}}
    if within.high is not None:
        # `max` is not among what is read: the next one of its length
        after = int.from_bytes(within.high, "big") + 1
        options["max"] = {path: Binary(after.to_bytes(len(within.high), "big"), SUBTYPE)}
    return options


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
