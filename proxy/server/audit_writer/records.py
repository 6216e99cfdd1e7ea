"""A record on its way to the audit writer: BSON, whose reader is written in C and safe for any bytes.

`marshal` would be as fast, but must not read what another process has written. JSON takes twice as long.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import bson
from bson.errors import BSONError

from sealwire.audit.files import LogPlace, moment_text
from sealwire.audit.line import Fields
from sealwire.audit.log import LogPace
from sealwire.proxy.server.audit_writer.destinations import CopyTarget, parse_copy
from sealwire.proxy.server.observability.logs import LogFormat
from sealwire.proxy.server.observability.record_bytes import RecordBytes

TIME: Final = "time"
UNREADABLE: Final[Fields] = {"event": "unreadable-record"}
"""What stands in the log for a record that cannot be read. It is there so that its absence is no secret."""


_MOST_SHOWN: Final = 200
"""Letters of a text, where a line would be too long: names that no server would take."""


# What the audit writer is told at its start: one JSON document on its command line, without a secret.


@dataclass(frozen=True, slots=True)
class RingEnds:
    """The descriptors of one side of a ring: of a worker, or of the writer."""

    memory: int
    wake: int
    """A pipe. A byte that the worker puts in wakes the writer; its end tells it that nobody is left."""


@dataclass(frozen=True, slots=True)
class WriterOrders:
    """Where to write, when a checkpoint is due, what to read from, and how to log."""

    place: LogPlace
    key: Path | None
    """The file of the key that signs checkpoints."""
    pace: LogPace
    ends: tuple[RingEnds, ...]
    copies: tuple[CopyTarget, ...]
    log_level: str
    log_format: LogFormat


def write_orders(orders: WriterOrders) -> str:
    """The text of `orders`."""
    pace = orders.pace
    return json.dumps(
        {
            "path": str(orders.place.path),
            "also": None if orders.place.also is None else str(orders.place.also),
            "key": None if orders.key is None else str(orders.key),
            "pace": [pace.checkpoint_lines, pace.checkpoint_s, pace.file_bytes],
            "ends": [[each.memory, each.wake] for each in orders.ends],
            "copies": [str(each) for each in orders.copies],
            "log": [orders.log_level, orders.log_format.value],
        }
    )


def read_log(text: str) -> tuple[str, LogFormat]:
    """How to log, as far as `text` says so; where it does not, in JSON, which people can read too.

    Orders of another version are told of by a line of the log.
    """
    try:
        level, log_format = json.loads(text)["log"]
        return logging.getLevelName(logging.getLevelNamesMapping()[level.upper()]), LogFormat(log_format)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "info", LogFormat.JSON


def read_orders(text: str) -> WriterOrders:
    """What `write_orders` has written. Raises ValueError, KeyError, TypeError."""
    said = json.loads(text)
    lines, seconds, file_bytes = said["pace"]
    level, log_format = said["log"]
    return WriterOrders(
        LogPlace(Path(said["path"]), None if said["also"] is None else Path(said["also"])),
        None if said["key"] is None else Path(said["key"]),
        LogPace(lines, seconds, file_bytes),
        tuple(RingEnds(memory, wake) for memory, wake in said["ends"]),
        tuple(map(parse_copy, said["copies"])),
        level,
        LogFormat(log_format),
    )


def shortened(fields: Mapping[str, object]) -> dict[str, Any]:
    """The same fields, with the beginnings of long texts."""
    return {
        name: f"{value[:_MOST_SHOWN]}…" if isinstance(value, str) and len(value) > _MOST_SHOWN else value
        for name, value in fields.items()
    }


def shortened_record(record: bytes) -> bytes:
    """The same record, with the beginnings of long texts."""
    return write_record(shortened(bson.decode(record)))


def write_record(fields: Mapping[str, object]) -> bytes:
    """The bytes of a record; `fields` has `time`, in milliseconds of Unix time.

    What UTF-8 cannot write is replaced. Raises ValueError for what it cannot hold. Cost: 0.3 us a field.
    """
    out = RecordBytes()
    for name, value in fields.items():
        out.field(name, value)
    return out.finish()


def read_record(record: bytes) -> Fields:
    """The fields of a line, `time` as lines have it. Raises ValueError. Cost: 3 us."""
    try:
        fields = bson.decode(record)
        moment = datetime.fromtimestamp(fields[TIME] / 1000, UTC)
    except (BSONError, KeyError, TypeError, OverflowError, OSError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None
    fields[TIME] = moment_text(moment)
    return fields
