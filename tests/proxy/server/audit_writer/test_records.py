"""Records on their way: what comes out is a line's fields, whatever went in."""

from datetime import UTC, datetime
from pathlib import Path

import bson
import pytest

from sealwire.audit.files import LogPlace
from sealwire.audit.line import read_line, write_line
from sealwire.audit.log import LogPace
from sealwire.proxy.server.audit_writer.destinations import COPY_KINDS, CopyTarget, parse_copy, syslog_message
from sealwire.proxy.server.audit_writer.records import (
    RingEnds,
    WriterOrders,
    read_log,
    read_orders,
    read_record,
    write_orders,
    write_record,
)
from sealwire.proxy.server.observability.logs import LogFormat
from tests.support.rows import rows

FIELDS = {"event": "command", "read": {"nhs": 2**40}, "subjects": ["a" * 32], "documents": 3, "glass": True}


def test_a_record_is_read_as_the_fields_of_a_line() -> None:
    said = read_record(write_record({**FIELDS, "time": 1_795_000_000_123}))
    assert said == {**FIELDS, "time": "2026-11-18T11:06:40.123+00:00"}


def test_what_utf_8_cannot_write_is_replaced() -> None:
    bad = "a\udc80"
    said = read_record(write_record({"time": 0, "user": bad, "read": {bad: 1}, "subjects": [bad]}))
    assert dict(said) | {"time": ""} == {"user": "a?", "read": {"a?": 1}, "subjects": ["a?"], "time": ""}
    assert read_line(write_line(0, bytes(32), {"user": said["user"]})).fields["user"] == "a?"


def test_what_has_no_form_is_refused_without_being_quoted() -> None:
    with pytest.raises(ValueError, match="64 bits") as caught:
        write_record({"time": 0, "documents": 2**70})
    assert "1180591620717411303424" not in str(caught.value)


@pytest.mark.parametrize("record", [b"", b"\5\0\0\0\0", b"no BSON", bson.encode({"time": "soon"})])
def test_bytes_that_are_no_record_are_refused(record: bytes) -> None:
    with pytest.raises(ValueError, match=r"^\w+$"):
        read_record(record)


@pytest.mark.parametrize("path", [None, Path("/mnt/a b/ü")])
def test_orders_are_read_as_they_were_written(path: Path | None) -> None:
    place = LogPlace(Path("/var/log/audit.jsonl"), path)
    copies = (parse_copy("stdout"), parse_copy("syslog:udp:[::1]:514"))
    ends = (RingEnds(3, 4), RingEnds(5, 6))
    orders = WriterOrders(place, path, LogPace(7, 8.5, 9), ends, copies, "debug", LogFormat.JSON)
    assert read_orders(write_orders(orders)) == orders


@rows("text", "", "[]", "{}", '{"log": ["loud", "text"]}', '{"log": [1, "text"]}', '{"log": "x"}')
def test_orders_that_do_not_say_how_to_log_are_told_of_in_json(text: str) -> None:
    assert read_log(text) == ("info", LogFormat.JSON)
    assert read_log('{"log": ["debug", "text"]}') == ("DEBUG", LogFormat.TEXT)


# Where copies go: what the configuration may say, and the form of a message.


STDOUT, UNIX, UDP, TCP, TLS = COPY_KINDS


@rows(
    "text, target",
    ("stdout", CopyTarget(STDOUT)),
    ("syslog:unix:/dev/log", CopyTarget(UNIX, "/dev/log")),
    ("syslog:udp:log.clinic.example:514", CopyTarget(UDP, "log.clinic.example", 514)),
    ("syslog:tcp:10.0.0.1:601", CopyTarget(TCP, "10.0.0.1", 601)),
    ("syslog:tls:log.clinic.example:6514", CopyTarget(TLS, "log.clinic.example", 6514)),
)
def test_a_place_is_read_as_it_is_written(text: str, target: CopyTarget) -> None:
    assert parse_copy(text) == target
    assert str(target) == text


def test_an_address_of_ipv6_may_stand_in_brackets() -> None:
    assert parse_copy("syslog:udp:[::1]:514") == CopyTarget(UDP, "::1", 514)


@rows(
    "text",
    *("", "stderr", "syslog", "syslog:udp", "syslog:udp:host", "syslog:udp::514", "syslog:udp:host:0"),
    *("syslog:udp:host:65536", "syslog:udp:host:5 4", "syslog:udp:host:\u0665", "syslog:unix:dev/log"),
    *("syslog:http:host:1", "file:/tmp/x"),
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        parse_copy(text)


def test_a_message_has_the_form_of_rfc_5424() -> None:
    moment = datetime(2026, 11, 27, 8, 30, 0, 123_456, UTC)
    message = syslog_message(b'{"n":1}', moment, "ward", 42)
    assert message == b'<109>1 2026-11-27T08:30:00.123Z ward sealwire 42 audit - {"n":1}'
