"""`serve --check`: what was found is told before the error, and programs get both."""

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from sealwire.cli.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from sealwire.cli.serve import check_start, fatal_as_logged, is_json
from sealwire.crypto import selftest
from sealwire.crypto.errors import SelfTestFailed
from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.proxy.server.errors import FileProblem, UpstreamUnavailable
from sealwire.proxy.server.page.panels import WatchedNow
from tests.proxy.server.site import Site, hello_thread, make_site

NO_KEY = "environment variable names no key"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    with hello_thread() as port:
        made = make_site(tmp_path, port)
        monkeypatch.setattr(os, "environ", made.environ)
        yield made


def unwatched(_: Path) -> WatchedNow:
    raise AssertionError


def server_away(site: Site) -> None:
    site.config["upstream"]["address"] = "127.0.0.1:9"
    site.environ["SEALWIRE_UPSTREAM_ADRESS"] = "secret.example:1"


def kek_misspelt(site: Site) -> None:
    site.environ["SEALWIRE_KEKK"] = site.environ.pop("SEALWIRE_KEK")


def key_misspelt(site: Site) -> None:
    site.config["polici"] = site.config.pop("policy")
    site.config["extra"] = "SEALWIRE_OUR_OWN"
    site.environ |= {"SEALWIRE_POLICI": "secret", "SEALWIRE_OUR_OWN": "secret"}


@pytest.mark.parametrize(
    ("harm", "error", "variable", "code"),
    [
        (server_away, UpstreamUnavailable, "SEALWIRE_UPSTREAM_ADRESS", EX_UNAVAILABLE),
        (kek_misspelt, KeysError, "SEALWIRE_KEKK", EX_CONFIG),
        (key_misspelt, SourceError, "SEALWIRE_POLICI", EX_CONFIG),
    ],
)
def test_a_misspelt_variable_is_told_before_the_error_that_it_is_the_cause_of(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[Site], None],
    error: type[Exception],
    variable: str,
    code: int,
) -> None:
    harm(site)
    file = site.write()
    with pytest.raises(error):
        check_start(file, unwatched, as_json=False)
    told = capsys.readouterr()
    assert told.out == ""
    assert f"sealwire: warning: {variable} names no key" in told.err.splitlines()[0]
    with pytest.raises(error):
        check_start(file, unwatched, as_json=True)
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["ok"], document["exit_code"], document["servers_answered"]) == (False, code, False)
    assert document["warnings"][0]["fields"] == {"variable": variable}
    assert [each["event"] for each in document["warnings"]].count(NO_KEY) == 1
    assert all(each["problem"] and each["hint"] for each in document["errors"])
    if error is UpstreamUnavailable:
        assert document["errors"][0]["reason"] == "upstream-refused"
        assert "no TLS on this side" in {each["event"] for each in document["warnings"]}
    assert "secret" not in told.out


def test_a_configuration_that_is_not_there_may_be_so_by_a_misspelt_variable(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.environ["SEALWIRE_CONFG"] = "/etc/sealwire/other.yaml"
    with pytest.raises(FileProblem):
        check_start(site.folder / "none.yaml", unwatched, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["warnings"][0]["hint"] == "did you mean SEALWIRE_CONFIG?"
    assert document["errors"][0]["reason"] == "file-missing"


@pytest.mark.parametrize("probe", [True, False])
def test_ok_says_whether_a_server_was_asked(
    site: Site, capsys: pytest.CaptureFixture[str], probe: bool
) -> None:
    site.config["audit"] = {"path": "audit.jsonl"}
    site.config["upstream"]["probe"] = probe
    if not probe:
        site.config["upstream"]["address"] = "127.0.0.1:9"
    check_start(site.write(), unwatched, as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("ok: ")
    assert ("and servers" in said, "no server was asked" in said) == (probe, not probe)
    check_start(site.write(), unwatched, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["servers_answered"], document["exit_code"]) == (True, probe, 0)
    assert document["errors"] == []


def test_a_start_proves_the_cipher(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise SelfTestFailed("AES-256-SIV")

    monkeypatch.setattr(selftest, "run", broken)
    with pytest.raises(SelfTestFailed):
        check_start(site.write(), unwatched, as_json=False)


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
