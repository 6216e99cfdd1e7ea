"""Records on their way: what comes out is a line's fields, whatever went in."""

import bson
import pytest

from sealwire.audit.line import read_line, write_line
from sealwire.proxy.server.audit_writer.records import read_record, write_record

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
