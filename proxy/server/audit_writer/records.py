"""A record on its way to the audit writer: BSON, whose reader is written in C and safe for any bytes.

`marshal` would be as fast, but must not read what another process has written. JSON takes twice as long.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson.errors import BSONError

from sealwire.audit.files import moment_text
from sealwire.audit.line import Fields
from sealwire.proxy.server.observability.record_bytes import RecordBytes

TIME: Final = "time"
UNREADABLE: Final[Fields] = {"event": "unreadable-record"}
"""What stands in the log for a record that cannot be read. It is there so that its absence is no secret."""


_MOST_SHOWN: Final = 200
"""Letters of a text, where a line would be too long: names that no server would take."""


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
