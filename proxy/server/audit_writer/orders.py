"""What the audit writer is told at its start: one JSON document on its command line, without a secret."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.proxy.server.audit_writer.destinations import CopyTarget, parse_copy
from sealwire.proxy.server.observability.logs import LogFormat


@dataclass(frozen=True, slots=True)
class WriterEnds:
    """The descriptors of the writer's end of one ring."""

    memory: int
    wake: int
    """The end of the pipe that is read from."""


@dataclass(frozen=True, slots=True)
class WriterOrders:
    """Where to write, when a checkpoint is due, what to read from, and how to log."""

    place: LogPlace
    key: Path | None
    """The file of the key that signs checkpoints."""
    pace: LogPace
    ends: tuple[WriterEnds, ...]
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
        tuple(WriterEnds(memory, wake) for memory, wake in said["ends"]),
        tuple(map(parse_copy, said["copies"])),
        level,
        LogFormat(log_format),
    )
