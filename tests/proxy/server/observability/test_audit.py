"""What a line says of a report and of who reported, and the audit that is the proxy's own log."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.errors import AuditKeyProblem
from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.keys.private_file import create_private
from sealwire.proxy.server.observability.audit import (
    AuditSettings,
    Keeping,
    LogAudit,
    Origin,
    RecordBytes,
    command_audit,
    fields_of,
)
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Done
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.records import UNANSWERED, CommandRecord

RECORD = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
WHAT = {"namespace": "clinic.patients", "command": "find", "reason": "pattern", "path": "nhs_number"}
NOBODY = {"client": "127.0.0.1:5", "connection": 7}


def test_without_an_audit_log_lines_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sink = LogAudit()
    assert sink.write(RECORD, Origin("127.0.0.1:5", 7))
    sink.say("started")
    sink.tick()
    sink.close()
    assert (sink.keeping, sink.is_pressed, sink.trouble) == (Keeping.OFF, False, "")
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("sealwire.audit", "refused")
    assert vars(record)["fields"] == NOBODY | WHAT


def test_a_line_says_who_it_was_as_far_as_anybody_has_said() -> None:
    known = Origin("127.0.0.1:5", 7, "CN=ward", Caller(("ann@admin", "bob@clinic"), "rounds", "PyMongo 4.20"))
    assert fields_of(Audit("login", "", ""), known) == NOBODY | {
        "user": "ann@admin bob@clinic",
        "certificate": "CN=ward",
        "application": "rounds",
        "driver": "PyMongo 4.20",
    }
    assert fields_of(RECORD, Origin("127.0.0.1:5", 7)) == NOBODY | WHAT


def test_commands_are_not_in_the_proxys_own_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    record = CommandRecord("clinic.patients", "find", written={}, filtered={})
    assert LogAudit().write(Done(record, UNANSWERED), Origin("127.0.0.1:5", 7))
    assert not caplog.records


def test_acts_are_in_the_proxys_own_log_where_there_is_no_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    record = CommandRecord("", "dropUser", written={}, filtered={}, act="administration", database="admin")
    record.target = "bob"
    origin = Origin("127.0.0.1:5", 7, "", Caller(("ann@admin",)))
    assert LogAudit().write(Done(record, UNANSWERED), origin)
    (logged,) = caplog.records
    assert (logged.name, logged.getMessage()) == ("sealwire.audit", "command")
    assert vars(logged)["fields"] == NOBODY | {
        **{"act": "administration", "database": "admin", "command": "dropUser", "target": "bob"},
        **{"outcome": "unanswered", "user": "ann@admin"},
    }


def test_what_sessions_are_told_of_commands(tmp_path: Path) -> None:
    chosen = AuditSettings(LogPlace(tmp_path / "audit.jsonl"), None, LogPace())
    assert command_audit(None) == CommandAudit(CommandScope.REFUSED)
    assert command_audit(replace(chosen, commands=CommandScope.REFUSED)) == command_audit(None)
    assert command_audit(chosen) == CommandAudit(CommandScope.PROTECTED)
    key = tmp_path / "subjects.key"
    create_private(key, PseudonymKey(bytes(32)).written())
    told = command_audit(replace(chosen, subjects_key=key))
    assert told.pseudonym is not None
    assert told.pseudonym("", 2, b"943") == PseudonymKey(bytes(32)).pseudonym(Identifier(2, b"943"))
    assert told.pseudonym("clinic.patients._id", 2, b"943") != told.pseudonym("", 2, b"943")
    key.write_bytes(b"no key")
    with pytest.raises(AuditKeyProblem):
        command_audit(replace(chosen, subjects_key=key))


# pymongo's codec puts `_id` first, wherever it stands
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "_id"
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = TEXTS | NUMBERS | st.booleans() | st.lists(TEXTS, max_size=12) | st.dictionaries(NAMES, NUMBERS)


@given(st.dictionaries(NAMES, VALUES))
def test_fields_are_written_as_the_codec_writes_them(fields: dict[str, Any]) -> None:
    out = RecordBytes()
    for name, value in fields.items():
        out.field(name, value)
    assert out.finish() == bson.encode(fields)


@given(st.dictionaries(NAMES, NUMBERS), st.lists(TEXTS), TEXTS, NUMBERS)
def test_fields_of_known_types_are_too(
    counts: dict[str, int], texts: list[str], text: str, number: int
) -> None:
    out = RecordBytes()
    out.counts(b"a\0", counts)
    out.texts(b"b\0", texts)
    out.text(b"c\0", text)
    out.number(b"d\0", number)
    assert out.finish() == bson.encode({"a": counts, "b": texts, "c": text, "d": number})


def test_fields_of_one_record_can_be_put_into_another() -> None:
    first, second = RecordBytes(), RecordBytes()
    first.field("a", 1)
    second.field("b", "2")
    second.elements(first.body())
    assert bson.decode(second.finish()) == {"b": "2", "a": 1}


def test_what_utf_8_cannot_write_is_replaced() -> None:
    out = RecordBytes()
    out.field("a\udc80", "b\udc80")
    assert bson.decode(out.finish()) == {"a?": "b?"}


@pytest.mark.parametrize(
    "value",
    [2**63, -(2**63) - 1, 1.5, None, {"a\0b": 1}, {1: 2}, b"abc"],
    ids=lambda value: type(value).__name__,
)
def test_what_a_record_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        RecordBytes().field("a", value)


def test_a_refusal_does_not_quote_the_value() -> None:
    with pytest.raises(ValueError, match="64 bits") as caught:
        RecordBytes().field("a", 2**70)
    assert str(2**70) not in str(caught.value)
