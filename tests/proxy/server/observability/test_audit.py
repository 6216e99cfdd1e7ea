"""The audit sink: what a line says, and what becomes of lines that cannot be written."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditKeyProblem
from sealwire.audit.files import LogPlace
from sealwire.audit.line import read_line
from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.audit.verification import LogReport, read_checkpoints, verify
from sealwire.keys.errors import UnsafeFile
from sealwire.keys.private_file import create_private
from sealwire.proxy.server.observability import audit
from sealwire.proxy.server.observability.audit import (
    AuditSettings,
    AuditSink,
    Keeping,
    Origin,
    command_audit,
    open_audit,
)
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Done
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.records import UNANSWERED, CommandOutcome, CommandRecord, CommandResult
from tests.audit.logs import KEY

RECORD = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
ORIGIN = Origin("127.0.0.1:5", 7)
KNOWN = Origin("127.0.0.1:5", 7, "CN=ward", Caller(("ann@admin", "bob@clinic"), "rounds", "PyMongo 4.20"))


def settings(folder: Path, key: Path | None = None) -> AuditSettings:
    return AuditSettings(LogPlace(folder / "audit.jsonl"), key, LogPace())


def lines(folder: Path, event: str = "refused") -> list[Mapping[str, object]]:
    content = (folder / "audit.jsonl").read_bytes().splitlines(keepends=True)
    return [line for line in (read_line(each).fields for each in content) if line["event"] == event]


def keeping(sink: AuditSink) -> Keeping:
    """What it says now; to mypy, what it said before would still count."""
    return sink.keeping


@contextmanager
def full_disk() -> Iterator[None]:
    """Files cannot grow: a real limit of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_without_a_path_audit_lines_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sink = open_audit(None, Metrics())
    assert sink.write(RECORD, ORIGIN)
    sink.say("started")
    sink.tick()
    sink.close()
    assert sink.keeping is Keeping.OFF
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("sealwire.audit", "refused")
    assert vars(record)["fields"] == {
        "client": "127.0.0.1:5",
        "connection": 7,
        "namespace": "clinic.patients",
        "command": "find",
        "reason": "pattern",
        "path": "nhs_number",
    }


def test_a_line_says_who_it_was_as_far_as_anybody_has_said(tmp_path: Path) -> None:
    sink = open_audit(settings(tmp_path), Metrics(), worker=3)
    assert sink.write(RECORD, KNOWN)
    assert sink.keeping is Keeping.KEPT
    sink.close()
    (said,) = lines(tmp_path)
    who = {name: said[name] for name in ("user", "certificate", "application", "driver", "worker")}
    assert who == {
        "user": "ann@admin bob@clinic",
        "certificate": "CN=ward",
        "application": "rounds",
        "driver": "PyMongo 4.20",
        "worker": 3,
    }


def test_an_audit_log_is_continued_and_signed(tmp_path: Path) -> None:
    key = tmp_path / "audit.key"
    key.touch(0o600)
    key.write_bytes(KEY.written())
    for _ in range(2):
        sink = open_audit(settings(tmp_path, key), Metrics())
        sink.write(RECORD, ORIGIN)
        sink.say("stopped", policy="abc")
        sink.close()
    assert [line["policy"] for line in lines(tmp_path, "stopped")] == ["abc", "abc"]
    report = LogReport()
    place = settings(tmp_path).place
    verify([place.path], read_checkpoints(place.checkpoints, KEY.verification, report), report)
    assert report.is_whole
    assert (report.signed, report.checkpoints) == (5, 2)


def test_lines_wait_while_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    sink = open_audit(settings(tmp_path), metrics)
    with full_disk():
        assert sink.write(RECORD, ORIGIN)
        assert sink.write(RECORD, KNOWN)
        assert sink.keeping is Keeping.WAITING
        sink.tick()
    assert lines(tmp_path) == []
    assert metrics.value("sealwire_audit_failures_total") == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert vars(caplog.records[-1])["fields"]["waiting"] == 2
    sink.tick()
    assert keeping(sink) is Keeping.KEPT
    sink.write(RECORD, ORIGIN)
    sink.close()
    assert [line.get("certificate") for line in lines(tmp_path)] == [None, "CN=ward", None]


def test_when_no_more_can_wait_nothing_more_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING", 3)
    sink = open_audit(settings(tmp_path), Metrics())
    with full_disk():
        assert [sink.write(RECORD, ORIGIN) for _ in range(5)] == [True, True, True, False, False]
        assert sink.keeping is Keeping.FULL
        sink.say("stopped")
    sink.tick()
    assert sink.write(RECORD, ORIGIN)
    with full_disk():
        sink.write(RECORD, ORIGIN)
        sink.close()
    assert len(lines(tmp_path)) == 4
    assert vars(caplog.records[-1])["fields"] == {"lines": 1}


def test_a_log_that_somebody_cut_is_said_and_gone_on_with_when_it_is_moved_away(tmp_path: Path) -> None:
    sink = open_audit(settings(tmp_path), Metrics())
    sink.write(RECORD, ORIGIN)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"")
    assert sink.write(RECORD, KNOWN)
    assert path.read_bytes() == b""
    assert sink.keeping is Keeping.WAITING
    path.rename(tmp_path / "cut")
    sink.tick()
    sink.close()
    assert [line.get("certificate") for line in lines(tmp_path)] == ["CN=ward"]
    assert lines(tmp_path, "file")[0]["n"] == 2


def test_a_place_or_a_key_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AuditFileProblem):
        open_audit(settings(tmp_path / "missing"), Metrics())
    key = tmp_path / "audit.key"
    key.write_bytes(KEY.written())
    key.chmod(0o644)
    with pytest.raises(UnsafeFile):
        open_audit(settings(tmp_path, key), Metrics())
    key.chmod(0o600)
    key.write_bytes(f"{KEY.verification}\n".encode())
    with pytest.raises(AuditKeyProblem):
        open_audit(settings(tmp_path, key), Metrics())
    assert not (tmp_path / "audit.jsonl").exists()


def test_a_command_has_a_line_with_who_it_was(tmp_path: Path) -> None:
    sink = open_audit(settings(tmp_path), Metrics())
    record = CommandRecord("clinic.patients", "find", written={}, filtered={"nhs": 1})
    assert sink.write(Done(record, CommandResult(CommandOutcome.OK, read={"nhs": 2})), KNOWN)
    sink.close()
    (said,) = lines(tmp_path, "command")
    assert (said["user"], said["read"], said["filtered"]) == ("ann@admin bob@clinic", {"nhs": 2}, {"nhs": 1})


def test_commands_are_not_in_the_proxys_own_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    record = CommandRecord("clinic.patients", "find", written={}, filtered={})
    assert open_audit(None, Metrics()).write(Done(record, UNANSWERED), KNOWN)
    assert not caplog.records


def test_what_sessions_are_told_of_commands(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert command_audit(None) is None
    assert command_audit(replace(chosen, commands=CommandScope.REFUSED)) is None
    assert command_audit(chosen) == CommandAudit(CommandScope.PROTECTED)
    key = tmp_path / "subjects.key"
    create_private(key, PseudonymKey(bytes(32)).written())
    told = command_audit(replace(chosen, subjects_key=key))
    assert told is not None
    assert told.pseudonym is not None
    assert told.pseudonym("", 2, b"943") == PseudonymKey(bytes(32)).pseudonym(Identifier(2, b"943"))
    assert told.pseudonym("clinic.patients._id", 2, b"943") != told.pseudonym("", 2, b"943")
    key.write_bytes(b"no key")
    with pytest.raises(AuditKeyProblem):
        command_audit(replace(chosen, subjects_key=key))
