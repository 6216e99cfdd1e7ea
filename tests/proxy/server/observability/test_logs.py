"""Log lines: fields are shown, exceptions without their text, and nothing can forge a second line."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealwire.audit.errors import AuditKeyProblem
from sealwire.audit.files import LogPlace
from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.crypto.x509 import subject_spellings
from sealwire.keys.private_file import create_private
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability import logs
from sealwire.proxy.server.observability.audit import LogAudit, Origin, command_audit, fields_of
from sealwire.proxy.server.observability.audit_settings import AuditSettings
from sealwire.proxy.server.observability.logs import (
    LogFormat,
    LogGate,
    SafeFormatter,
    configure,
    log_outcries,
    note,
    stack_of,
)
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.choices import CommandScope
from sealwire.proxy.session.effects import UNANSWERED, Audit, CommandRecord, Done
from sealwire.proxy.session.login.caller import Caller

LOGGER = logging.getLogger("sealwire.test")


def raise_with(value: str) -> None:
    try:
        int(value)
    except ValueError as error:
        raise KeyError(value) from error


def caught() -> KeyError:
    with pytest.raises(KeyError) as info:
        raise_with("9434765919x")
    return info.value


@pytest.fixture
def restored_root() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(log_format: LogFormat, capsys: pytest.CaptureFixture[str]) -> list[str]:
    configure("info", log_format, sys.stderr)
    note(LOGGER, logging.DEBUG, "too quiet")
    note(LOGGER, logging.INFO, "opened", client="a b", forged="x\nERROR y", number=3, tls=True, empty="")
    note(LOGGER, logging.CRITICAL, "bug", caught())
    return capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("restored_root")
def test_text_lines_quote_fields_and_show_stacks_without_values(capsys: pytest.CaptureFixture[str]) -> None:
    opened, bug, *stack = lines_of(LogFormat.TEXT, capsys)
    fields = 'opened client="a b" forged="x\\nERROR y" number=3 tls=true empty=""'
    assert opened.endswith(f"INFO     {fields}")
    assert bug.endswith("CRITICAL bug")
    assert stack[0] == "    builtins.KeyError"
    assert any("in raise_with" in line for line in stack)
    assert "    builtins.ValueError" in stack
    assert "9434765919" not in "".join(stack)


@pytest.mark.usefixtures("restored_root")
def test_json_lines_hold_one_object_each(capsys: pytest.CaptureFixture[str]) -> None:
    opened, bug = map(json.loads, lines_of(LogFormat.JSON, capsys))
    assert opened.pop("time").endswith("+00:00")
    assert opened == {
        "level": "info",
        "logger": "sealwire.test",
        "event": "opened",
        "client": "a b",
        "forged": "x\nERROR y",
        "number": 3,
        "tls": True,
        "empty": "",
    }
    assert bug["stack"][0] == "builtins.KeyError"
    assert "9434765919" not in json.dumps(bug)


def test_records_of_other_libraries_lose_the_text_of_their_exceptions() -> None:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed\nforged", None, (KeyError, caught(), None))
    head, *stack = SafeFormatter(LogFormat.TEXT).format(record).split("\n")
    assert head.endswith('"failed\\nforged"')
    assert stack[0] == "    builtins.KeyError"
    assert "9434765919" not in "".join(stack)


def test_of_asyncios_lines_only_the_first_is_shown_for_the_others_quote_exceptions() -> None:
    text = "Task exception was never retrieved\nfuture: <Task exception=ValueError('9434765919')>"
    record = logging.LogRecord("asyncio", logging.ERROR, "f", 1, text, None, None)
    assert SafeFormatter(LogFormat.TEXT).format(record).endswith(" Task exception was never retrieved")
    assert json.loads(SafeFormatter(LogFormat.JSON).format(record))["event"] == text.split("\n", 1)[0]


def test_a_circle_of_causes_ends() -> None:
    first, second = KeyError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert stack_of(first) == ["builtins.KeyError", "builtins.ValueError"]


def test_a_suppressed_context_is_not_shown() -> None:
    error = KeyError()
    error.__context__ = ValueError()
    error.__suppress_context__ = True
    assert stack_of(error) == ["builtins.KeyError"]


def test_a_storm_shows_one_line_in_an_interval_and_says_how_many_were_held(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    gate = LogGate(10.0, lambda: now)
    for _ in range(4):
        gate.note(LOGGER, logging.WARNING, "refused", "a")
    gate.note(LOGGER, logging.WARNING, "refused", "b")
    now = 110.0
    gate.note(LOGGER, logging.WARNING, "refused", "a", port=1)
    fields = [vars(record)["fields"] for record in caplog.records]
    assert fields == [{}, {}, {"port": 1, "similar_lines_held": 3}]


@pytest.mark.parametrize("log_format", LogFormat)
def test_a_workers_lines_bear_its_number(log_format: LogFormat) -> None:
    record = logging.LogRecord("sealwire.server", logging.INFO, __file__, 1, "ready", None, None)
    line = SafeFormatter(log_format, 3).format(record)
    assert ('"worker": 3' if log_format is LogFormat.JSON else " worker=3") in line
    assert "worker" not in SafeFormatter(log_format).format(record)


SECRET = "943 476 5919"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    shown = StringIO()
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    monkeypatch.setattr(logs, "_gate", LogGate(10.0, lambda: 0.0))
    configure("info", LogFormat.JSON, shown)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_outcries()
        yield shown


def lines(log: StringIO) -> list[dict[str, Any]]:
    text = log.getvalue()
    assert SECRET not in text
    return [json.loads(line) for line in text.splitlines()]


def certificate_of_an_odd_country() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings(action="ignore"):
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "GBR", _validate=False)
    name, now = x509.Name([country]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_what_the_library_says_of_a_clients_certificate_is_one_line(log: StringIO) -> None:
    der = certificate_of_an_odd_country()
    assert subject_spellings(der) == ("C=GBR",)
    (line,) = lines(log)
    assert (line["event"], line["category"], line["level"]) == ("a library warns", "UserWarning", "warning")


def test_a_warning_whose_text_changes_is_let_through_once(log: StringIO) -> None:
    for number in range(5):
        warnings.warn(f"{SECRET} {number}", RuntimeWarning, stacklevel=1)
    (line,) = lines(log)
    assert line["place"].startswith(f"{__file__}:")


class Finalized:
    def __del__(self) -> None:
        raise ValueError(SECRET)


def test_an_exception_that_nobody_can_catch_has_its_class_and_place(log: StringIO) -> None:
    Finalized()
    (line,) = lines(log)
    assert (line["event"], line["place"]) == ("bug: an exception was ignored", "Finalized.__del__")
    assert line["stack"][0] == "builtins.ValueError"


def test_a_thread_that_ends_itself_is_no_bug(log: StringIO) -> None:
    for error in (SystemExit(SECRET), ValueError(SECRET)):
        thread = threading.Thread(target=raise_it, args=(error,), name="admin")
        thread.start()
        thread.join()
    (line,) = lines(log)
    assert (line["event"], line["thread"]) == ("bug: a thread ended", "admin")


def raise_it(error: BaseException) -> None:
    raise error


def test_a_line_that_cannot_be_written_shows_nothing(
    log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    note(logging.getLogger("sealwire.test"), logging.ERROR, "odd", value={SECRET})  # type: ignore[arg-type]
    assert lines(log) == []
    assert capsys.readouterr().err == ""


# What a line says of a report and of who reported, and the audit that is the proxy's own log.


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
