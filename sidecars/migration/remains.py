"""What a server may have in an older form after a move: entries of its oplog, and free pages of its files.

Neither can be searched for a value without reading everything. What can be known is whether there is room for
one: the oplog goes back to a time, and a file has so many bytes of free pages.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple

from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client, failure

_DECODED = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)
_CLOCKS: Final = timedelta(minutes=10)
"""By how much the clocks of the server and of the job's machine may differ."""
_FREE: Final = "file bytes available for reuse"


class Remaining(Enum):
    """Whether values of the older form may be there."""

    GONE = "gone"
    PERHAPS = "perhaps"
    UNKNOWN = "not known"


class Remains(NamedTuple):
    """What is known of one place."""

    where: str
    verdict: Remaining
    why: str


def of_oplog(client: Client, ended: datetime) -> Remains:
    """The oplog of the member that answers, after a move that ended then. Raises what the driver raises.

    Cost: two commands; the oldest entry is the first in the oplog's own order.
    """
    where = "oplog"
    hello = client.get_database("admin").command("hello", codec_options=_DECODED)
    if hello.get("msg") == "isdbgrid":
        return Remains(where, Remaining.UNKNOWN, "this is a mongos: ask a member of each shard")
    oplog = client.get_database("local").get_collection("oplog.rs", codec_options=_DECODED)
    try:
        oldest = oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
    except OperationFailure as error:
        return Remains(
            where, Remaining.UNKNOWN, f"the server answered {failure(error)}: read on local is needed"
        )
    if oldest is None:
        return Remains(where, Remaining.GONE, "this server has none")
    moment = oldest.get("ts")
    if not isinstance(moment, Timestamp):
        return Remains(where, Remaining.UNKNOWN, "its oldest entry has no time")
    begins = moment.as_datetime()
    verdict = Remaining.GONE if begins > ended + _CLOCKS else Remaining.PERHAPS
    return Remains(where, verdict, f"goes back to {begins:%Y-%m-%d %H:%M:%SZ}")


def of_files(client: Client, namespace: str) -> Remains:
    """The files of a collection and its indexes. Raises what the driver raises. Cost: one command."""
    where = f"free pages of {namespace}"
    database, _, name = namespace.partition(".")
    try:
        command = {"collStats": name, "indexDetails": True}
        stats = client.get_database(database).command(command, codec_options=_DECODED)
    except OperationFailure as error:
        return Remains(where, Remaining.UNKNOWN, f"the server answered {failure(error)}: collStats is needed")
    details = stats.get("indexDetails")
    files = [stats.get("wiredTiger"), *(details.values() if isinstance(details, Mapping) else ())]
    free = [_free_bytes(each) for each in files]
    known = [each for each in free if each is not None]
    if not known or len(known) < len(free):
        return Remains(where, Remaining.UNKNOWN, "the server does not say")
    return Remains(where, Remaining.PERHAPS if any(known) else Remaining.GONE, f"{sum(known)} bytes")


def _free_bytes(stats: object) -> int | None:
    manager = stats.get("block-manager") if isinstance(stats, Mapping) else None
    free = manager.get(_FREE) if isinstance(manager, Mapping) else None
    return int(free) if isinstance(free, int | float) and not isinstance(free, bool) else None
