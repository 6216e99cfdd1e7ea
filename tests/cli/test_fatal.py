"""A start that fails says so in JSON where the log is JSON."""

import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

from sealwire.cli.exit_codes import EX_CONFIG
from sealwire.cli.fatal import fatal_as_logged, is_json
from sealwire.files.errors import SourceError

JSON_TEXTS = (
    "log: {format: json}\n",
    'log: {"format": "json"}\n',
    'log: {\n  "level": "info",\n  "format" : "json"\n}\n',
    'log:\n  "format": json\n',
    "'log':\n  'format': 'json'\n",
    '"log" : {format: json}\n',
    "\ufefflog: {format: json}\n",
    '{"log": {"format": "json"}}\n',
    '{"policy": "x", "log": {"level": "info", "format": "json"}, "listen": [\n',
    '{\n  "listen": {"host": "h"},\n  "log": {\n    "format": "json"\n  }\n}\n',
    "{policy: x, log: {format: json}}\n",
    "log: {level: debug, format: json}\n",
    "policy: x\nlog:\n  format: json\n",
    "log:\n  level: debug\n\n  # for machines\n  format: 'json'\nlisten: [\n",
    'log:  # below\n    format: "json"\n',
)
TEXT_TEXTS = (
    "",
    "log: {level: info}\nother: {format: json}\n",
    "log:\n  level: info\nother:\n  format: json\n",
    "log: {format: text}\n",
    "log: {date_format: json}\n",
    '{"log": {"level": "info"}, "other": {"format": "json"}}\n',
    '{"log": {"format": "text"}}\n',
    '{"catalog": {"format": "json"}}\n',
    "logs:\n  format: json\n",
    "#log: {format: json}\n",
    "log:\n" + "  # why\n" * 60 + "  level: info\n",
)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)


@pytest.mark.parametrize("text", JSON_TEXTS)
def test_the_format_is_found_in_a_file_that_may_be_wrong(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sealwire.yaml"
    file.write_text(text)
    assert is_json(file, {})
    assert not is_json(file, {"SEALWIRE_LOG_FORMAT": "text"})


@pytest.mark.parametrize("text", TEXT_TEXTS)
def test_a_log_for_people_stays_one(tmp_path: Path, text: str) -> None:
    file = tmp_path / "sealwire.yaml"
    file.write_text(text)
    assert not is_json(file, {})
    assert is_json(file, {"SEALWIRE_LOG_FORMAT": "json"})


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert not is_json(tmp_path / "missing.yaml", {})


def fails(tmp_path: Path, error: Exception, log_format: str = "json") -> int:
    with (
        pytest.raises(SystemExit) as ended,
        fatal_as_logged(tmp_path / "missing", {"SEALWIRE_LOG_FORMAT": log_format}),
    ):
        raise error
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_an_error_that_an_operator_can_mend_is_one_line_with_its_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error = SourceError("a.yaml", 3, 1, "unknown key 'x'", "did you mean 'y'?")
    assert fails(tmp_path, error) == EX_CONFIG
    line = json.loads(capfd.readouterr().err)
    assert (line["level"], line["event"]) == ("critical", "the proxy cannot run")
    assert line["exit_code"] == EX_CONFIG
    assert "unknown key" in line["problem"]
    assert line["hint"]


def test_a_bug_is_one_line_without_its_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert fails(tmp_path, ValueError("943 476 5919")) == 1
    text = capfd.readouterr().err
    line = json.loads(text)
    assert "943" not in text
    assert line["stack"][0] == "builtins.ValueError"


def test_a_bug_has_no_text_in_a_log_for_people_either(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert fails(tmp_path, ValueError("943 476 5919"), "text") == 1
    head, stack, *_ = capfd.readouterr().err.splitlines()
    assert head.endswith("CRITICAL bug: the proxy ended")
    assert stack == "    builtins.ValueError"


def test_what_an_operator_can_mend_is_raised_as_it_is_in_a_log_for_people(tmp_path: Path) -> None:
    with pytest.raises(SourceError), fatal_as_logged(tmp_path / "missing", {}):
        raise SourceError("a.yaml", 3, 1, "unknown key 'x'", "did you mean 'y'?")


def test_serve_says_in_json_that_the_configuration_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "sealwire.yaml"
    file.write_text("log: {format: json}\nlisten: [\n")
    command = [sys.executable, "-P", "-m", "sealwire", "serve", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == EX_CONFIG
    (line,) = [json.loads(each) for each in done.stderr.splitlines()]
    assert line["event"] == "the proxy cannot run"
    assert done.stdout == ""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_thread_that_fails_has_a_line_without_the_text(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], log_format: str
) -> None:
    def fail() -> None:
        raise ValueError("943 476 5919")

    with fatal_as_logged(tmp_path / "missing", {"SEALWIRE_LOG_FORMAT": log_format}):
        thread = threading.Thread(target=fail, name="admin")
        thread.start()
        thread.join()
    text = capfd.readouterr().err
    assert "bug: a thread ended" in text
    assert "admin" in text
    assert "builtins.ValueError" in text
    assert "943" not in text


def test_a_wrong_call_is_told_as_anywhere(tmp_path: Path) -> None:
    with (
        pytest.raises(click.UsageError),
        fatal_as_logged(tmp_path / "missing", {"SEALWIRE_LOG_FORMAT": "json"}),
    ):
        raise click.UsageError("no")
