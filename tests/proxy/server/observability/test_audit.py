"""What a line says of a report and of who reported, and the audit that is the proxy's own log."""

from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditKeyProblem
from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.keys.private_file import create_private
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit import LogAudit, Origin, command_audit, fields_of
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import UNANSWERED, Audit, CommandRecord, Done
from sealwire.proxy.session.login.caller import Caller

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
