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

from sealwire.cli import sealwire
from sealwire.cli.exit_codes import EX_CONFIG, EX_UNAVAILABLE
from sealwire.cli.serve import check_start, fatal_as_logged, is_json
from sealwire.crypto import selftest
from sealwire.crypto.errors import SelfTestFailed
from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.proxy.server.errors import FileProblem, UpstreamUnavailable
from sealwire.proxy.server.page.panels import WatchedNow
from tests.build_context import ROOT
from tests.proxy.server.site import Site, hello_thread, make_site
from tests.support.measuring import unmeasured

NO_KEY = "environment variable names no key"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
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
def test_ok_says_if_a_server_was_asked(site: Site, capsys: pytest.CaptureFixture[str], probe: bool) -> None:
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


@pytest.mark.parametrize(
    ("text", "found", "other"),
    [*((text, True, "text") for text in JSON_TEXTS), *((text, False, "json") for text in TEXT_TEXTS)],
)
def test_the_format_is_found_in_a_wrong_file(tmp_path: Path, text: str, other: str, *, found: bool) -> None:
    file = tmp_path / "sealwire.yaml"
    file.write_text(text)
    assert is_json(file, {}) is found
    assert is_json(file, {"SEALWIRE_LOG_FORMAT": other}) is not found


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


def test_a_bug_has_no_text_in_a_log_for_people(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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


# What a command imports before it does anything: sets that may not grow, since each start pays for them.


FRONT_DOOR = frozenset({"sealwire", "sealwire.cli", "sealwire.cli.exit_codes", "sealwire.cli.groups"})
ADMIN_SECTION = frozenset(
    """
    sealwire.cli.healthcheck sealwire.cli.options sealwire.files sealwire.files.errors
    sealwire.files.yaml_source sealwire.proxy sealwire.proxy.server sealwire.proxy.server.config
    sealwire.proxy.server.config.rows sealwire.proxy.server.errors
    """.split()  # noqa: SIM905 - one line for each name says no more
)
SLOW = frozenset(
    {"cryptography", "pymongo", "bson", "hvac", "requests", "urllib3", "jinja2", "rich"}
    | {"prometheus_client", "asyncio"}
)
"""Each takes 10 ms or more."""
SPARED = frozenset(
    {"http.client", "email", "urllib.parse", "ipaddress", "secrets", "random"}
    | {"ssl", "hashlib", "logging", "difflib"}
)
"""Of the standard library: a third of what a health check may take. The image makes one every 15 seconds."""
EXAMPLE = str(ROOT / "deploy" / "sealwire.example.yaml")
CHECK = f"load_admin_door(Path({EXAMPLE!r}), {{}})"


def imported(program: str) -> frozenset[str]:
    """The modules that a new process has after this program."""
    program += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", program]
    with unmeasured():
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def after(*arguments: str) -> frozenset[str]:
    """The same after `sealwire` with these arguments."""
    return imported(
        f"from sealwire.cli import sealwire\nsealwire({list(arguments)!r}, standalone_mode=False)"
    )


def of_sealwire(modules: frozenset[str]) -> frozenset[str]:
    return frozenset(each for each in modules if each.split(".")[0] == "sealwire")


def test_the_help_imports_no_command() -> None:
    modules = after("--help")
    assert of_sealwire(modules) <= FRONT_DOOR
    assert not {"yaml", *SLOW} & modules


def test_the_first_lines_in_the_help_are_those_of_the_commands() -> None:
    context = click.Context(sealwire)
    known, found = click.HelpFormatter(width=200), click.HelpFormatter(width=200)
    sealwire.format_commands(context, known)
    click.Group.format_commands(sealwire, context, found)
    assert known.getvalue() == found.getvalue()


def test_a_health_check_imports_what_reads_one_section() -> None:
    program = f"from pathlib import Path\nfrom sealwire.cli.healthcheck import load_admin_door\n{CHECK}"
    modules = imported(program)
    assert of_sealwire(modules) <= FRONT_DOOR | ADMIN_SECTION
    assert not (SLOW | SPARED) & modules


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("audit verify", set()),
        ("compliance verify", set()),
        ("erase verify-receipt", {"cryptography"}),
        ("hold list", {"cryptography"}),
        ("keys list", {"cryptography"}),
        ("policy check", {"bson"}),
        ("policy lint", {"bson"}),
        ("policy test", {"bson"}),
    ],
)
def test_what_only_reads_a_file_imports_neither_driver_nor_drawing(command: str, needed: set[str]) -> None:
    assert SLOW & after(*command.split(), "--help") <= needed


@pytest.mark.parametrize("name", ["access", "explain", "test"])
def test_the_help_of_what_plans_imports_no_planner(name: str) -> None:
    modules = after("policy", name, "--help")
    assert not {each for each in modules if each.startswith("sealwire.policies.commands.")}
