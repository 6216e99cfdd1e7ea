"""A `find` that is sorted by a field of which the server is asked: the same as an `aggregate`.

Only a pipeline can look ranks up. The reply has the same shape, and its cursor is read on in the same way.
Arguments that the two commands read differently are refused.
"""

from typing import Any, Final

from bson import Int64, encode

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import document_of, given, named_parts, operator_name, string_of
from sealwire.policies.planning.values import FLAGS, is_given, whole_number
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_FLAGS: Final = frozenset(b"returnKey showRecordId oplogReplay noCursorTimeout allowPartialResults".split())
"""Arguments that a pipeline does not have. They are allowed if they are off."""
_TURNED: Final = frozenset(b"find filter sort projection skip limit batchSize singleBatch".split())
_KEPT: Final = frozenset(
    b"""hint comment maxTimeMS readConcern let allowDiskUse lsid txnNumber autocommit startTransaction $db
    $clusterTime $readPreference apiVersion apiStrict apiDeprecationErrors collation $client $audit
    $configTime $topologyTime""".split()
)
"""Arguments that mean the same in both."""


class FindSortsByValues(Exception):
    """The command has to be planned as `as_aggregate` writes it."""


def as_aggregate(buf: bytes, body: int) -> bytes:
    """The document of the `aggregate` that answers the `find` at `body`.

    Raises Refusal(SORT, SHAPE) for what only `find` knows, BsonError. Cost: O(command).
    """
    parts = named_parts(buf, body)
    for name, part in parts.items():
        is_off = name in _FLAGS and not (part.kind in FLAGS and is_given(buf, part))
        if part.kind != kinds.NULL and name not in _KEPT | _TURNED and not is_off:
            raise _refused(operator_name(part))
    stages = []
    for name, stage in ((b"filter", b"$match"), (b"sort", b"$sort")):
        said = given(parts, name)
        if said is not None:
            stages.append(_element(stage, buf, said, document_of(said, said)))
    skip, limit, batch = (_amount(buf, parts, name) for name in (b"skip", b"limit", b"batchSize"))
    cursor: dict[str, Any] = {} if batch is None else {"batchSize": Int64(batch)}
    if is_given(buf, parts.get(b"singleBatch")):
        limit = min((each for each in (limit, batch) if each), default=0)
        if not limit:
            raise _refused("singleBatch without a limit")
        cursor = {"batchSize": Int64(limit + 1)}  # so that the server sees the end, and closes the cursor
    windowed = (("$skip", skip), ("$limit", limit))
    stages += [encode({name: Int64(amount)}) for name, amount in windowed if amount]
    projection = given(parts, b"projection")
    if projection is not None and next(elements(buf, document_of(projection, projection)), None) is not None:
        _check_projection(buf, projection)
        stages.append(_element(b"$project", buf, projection, projection.value))
    array = b"".join(b"\x03%d\0%b" % (index, stage) for index, stage in enumerate(stages))
    kept = [buf[part.start : part.end] for name, part in parts.items() if name in _KEPT]
    first = encode({"aggregate": string_of(buf, parts[b"find"]), "cursor": cursor})[4:-1]
    return _enclosed(b"".join((first, b"\x04pipeline\0", _enclosed(array), *kept)))


def _enclosed(inside: bytes) -> bytes:
    return (len(inside) + 5).to_bytes(4, "little") + inside + b"\0"


def _element(name: bytes, buf: bytes, part: Element, start: int) -> bytes:
    return _enclosed(b"\x03%b\0%b" % (name, buf[start : part.end]))


def _amount(buf: bytes, parts: dict[bytes, Element], name: bytes) -> int | None:
    """A number of documents; None where none is given. Raises Refusal(SHAPE)."""
    part = given(parts, name)
    amount = None if part is None else whole_number(buf, part)
    if amount is not None and amount < 0:
        raise Refusal(Reason.SHAPE, rule=name.decode())
    return amount


def _check_projection(buf: bytes, projection: Element) -> None:
    """Raises Refusal(SORT) for operators, of which `$project` reads some in another way."""
    for part in elements(buf, projection.value):
        if part.kind not in FLAGS or b"$" in part.name:
            raise _refused(f"a projection with {operator_name(part)}")


def _refused(what: str) -> Refusal:
    return Refusal(Reason.SORT, rule=f"{what} beside a sort by stored values")
