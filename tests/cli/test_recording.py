"""Operators' commands on record: before they begin and when they have ended, without what they were given."""

from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.files import files_of
from sealwire.audit.line import read_line
from sealwire.audit.verification import LogReport, verify
from sealwire.cli import recording
from tests.cli.runs import Run

MARKER = "9434765919"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALWIRE_AUDIT_PATH", str(tmp_path / "audit.log"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    return tmp_path / "audit.log"


def lines(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    found = [dict(read_line(line).fields) for line in log.read_bytes().splitlines(keepends=True)]
    return [line for line in found if line["event"] != "file"]


def test_a_command_is_on_record_before_and_after(run: Run, log: Path) -> None:
    Path("policy.yaml").write_text("version: 1\nclasses: {a: {mode: random}}\ncollections: {b.c: {d: a}}\n")
    assert run("policy", "check", "policy.yaml").code == 0
    begun, ended = lines(log)
    assert (begun["event"], ended["event"]) == ("command-begun", "command-ended")
    assert begun["command"] == ended["command"] == "policy check"
    assert (begun["operator"], begun["host"]) == (ended["operator"], ended["host"])
    assert "exit" not in begun
    assert ended["exit"] == 0
    report = LogReport()
    verify(files_of(log), {}, report)
    assert report.is_whole


def test_options_are_named_and_nothing_that_was_given_to_them(run: Run, log: Path) -> None:
    outcome = run("audit", "create-key", "key", "--name", "x", "--json")
    assert (outcome.code, lines(log)) == (0, [])
    outcome = run(
        *("keys", "status", f"--keyring={MARKER}", "--kek", f"env:{MARKER}", "--json"),
        *(MARKER, "-x", f"--{MARKER}", "--", f"-{MARKER}", "--keyring"),
    )
    assert outcome.code != 0
    begun, ended = lines(log)
    assert begun["command"] == "keys status"
    assert begun["options"] == ["--json", "--keyring"]
    assert ended["exit"] == outcome.code
    assert MARKER.encode() not in log.read_bytes()


@pytest.mark.parametrize("words", [("--help",), ("keys", "--help"), ("--version",), ("nothing",), ()])
def test_what_is_no_command_is_not_on_record(run: Run, log: Path, words: tuple[str, ...]) -> None:
    run(*words)
    assert lines(log) == []


@pytest.mark.parametrize(
    "words", [("--", "tls", "rules"), ("tls", "--", "rules"), ("tls", "rules", "--", "--help")]
)
def test_no_way_of_writing_a_command_keeps_it_off_the_record(
    run: Run, log: Path, words: tuple[str, ...]
) -> None:
    run(*words)
    assert [line["command"] for line in lines(log)] == ["tls rules", "tls rules"]


def test_a_command_that_cannot_be_recorded_does_not_begin(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWIRE_AUDIT_PATH", str(log.parent / "missing" / "audit.log"))
    monkeypatch.setenv("SEALWIRE_BACKUP_KEK", "x")
    outcome = run("backup", "create-key", "key", "--passphrase-file", "none", code=78)
    assert "missing/audit.log" in outcome.err
    log.write_text("not a log\n")
    monkeypatch.setenv("SEALWIRE_AUDIT_PATH", str(log))
    assert run("backup", "create-key", "key", "--passphrase-file", "none").code == 65
    assert log.read_text() == "not a log\n"


def test_an_end_that_cannot_be_recorded_is_said_and_changes_no_exit_code(
    run: Run, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended = recording._append

    def only_the_first(audit: Any, event: str, said: Any) -> None:
        appended(audit, event, said)
        log.write_bytes(b"")

    monkeypatch.setattr(recording, "_append", only_the_first)
    outcome = run("tls", "rules", code=0)
    assert "not on record" in outcome.err


def test_whoever_used_sudo_is_named(run: Run, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    run("tls", "rules")
    assert lines(log)[0]["operator"].startswith("ann as ")


def test_an_error_that_nobody_foresaw_is_on_record(log: Path) -> None:
    from sealwire.cli import sealwire

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        recording.run_recorded(sealwire, fail, log, ["tls", "rules"])
    assert lines(log)[-1]["exit"] == 1
