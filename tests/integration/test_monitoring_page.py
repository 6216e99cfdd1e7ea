"""docs/operations/monitoring.md: its commands, and whether a live proxy has what is asked for."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire import __version__
from sealwire.cli.pages import PageSection, PageTable, ReportPage, columns, rows, unverified, write_page
from sealwire.files.html.frame import Mark, Tone
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from sealwire.sidecars.detection.alerts import Alerts
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.conftest import Stack
from tests.integration.outside.chosen import own_server
from tests.monitored import MONITORING, metrics_named
from tests.node_programs import NODE, require_chromium
from tests.sidecars.detection.logs import append, line, source
from tests.support import warm
from tests.support.debian import require_program
from tests.support.doc_commands import run_document
from tests.support.proxied import proxied
from tests.support.runs import ran
from tests.support.secantus import secantus
from tests.support.skips import skip_or_fail

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "monitoring.md"
OF_TASKS = re.compile(r"sealwire_(backup|restore_drill|tls)_")
"""By node_exporter."""


def test_the_rules_are_right(tmp_path: Path) -> None:
    program = require_program("promtool", "promtool", "--version")
    for name in ("alerts.yaml", "prometheus.yaml"):
        shutil.copy(MONITORING / name, tmp_path)
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    assert "SUCCESS" in run_document(PAGE, tmp_path, "rules", {"PATH": path})


def test_a_live_proxy_has_every_figure_that_is_asked_for(stack: Stack) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.proxy.admin_port}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
    shown = set(re.findall(r"^# TYPE (\w+) ", page, re.M))
    shown |= {name for family in SupervisorMetrics(2).registry.collect() for name in _names(family.name)}
    missing = {name for name in metrics_named() if name not in shown and not OF_TASKS.match(name)}
    assert missing == set()


def _names(family: str) -> tuple[str, str]:
    return family, f"{family}_total"


# Two versions of Sealwire side by side, and the commands of docs/operations/upgrade.md.


UPGRADE_PAGE = ROOT / "docs" / "operations" / "upgrade.md"
POLICY = """
version: 1
classes: {n: {mode: deterministic, type: string}}
collections: {clinic.patients: {n: n}}
"""
OLDER = "0.0.9"


def older_sources(folder: Path) -> Path:
    """The sources of the commit before this one, that call themselves another version."""
    archive = folder / "older.tar"
    command = ["git", "archive", "--output", str(archive), "HEAD^"]
    done = ran(command, cwd=ROOT)
    if done.returncode != 0:
        skip_or_fail(f"git has no commit before this one: {done.stderr.strip()}")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "older", filter="data")
    init = folder / "older" / "sealwire" / "__init__.py"
    text = init.read_text(encoding="utf-8")
    assert 'version("sealwire")' in text
    init.write_text(text.replace('version("sealwire")', f'"{OLDER}"'), encoding="utf-8")
    return folder / "older"


def version_of(proxy: ProxyProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.admin_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("sealwire_build_info{")]
    (version,) = re.findall(r'\bversion="([^"]+)"', line)
    return str(version)


@pytest.mark.plain_core("runs the sources of two commits, which are not compiled")
@pytest.mark.slow
def test_two_versions_serve_one_server_and_one_takes_over_from_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    with secantus(tmp_path) as database:
        upstream = f"127.0.0.1:{database.port}"
        with monkeypatch.context() as other:
            other.setenv("PYTHONPATH", str(older_sources(tmp_path)))
            other.setenv("PYTHONSAFEPATH", "1")
            before = ProxyProcess(ProxyOptions(tmp_path / "old", policy, upstream, access_control=False))
        now = ProxyProcess(
            ProxyOptions(tmp_path / "new", policy, upstream, access_control=False, kek=before.options.kek)
        )
        now.keyring = before.keyring
        with before, now:
            assert (version_of(before), version_of(now)) == (OLDER, __version__)
            with before.connect() as first, now.connect() as second:
                old, new = first["clinic"]["patients"], second["clinic"]["patients"]
                old.insert_one({"_id": 1, "n": "943"})
                new.insert_one({"_id": 2, "n": "943"})
                for each in (old, new):
                    assert {row["_id"] for row in each.find({"n": "943"})} == {1, 2}
                with database.connect() as direct:
                    stored = {bytes(row["n"]) for row in direct["clinic"]["patients"].find()}
                assert len(stored) == 1
                policy.write_text(POLICY.replace("{n: n}", "{n: n, m: n}"), encoding="utf-8")
                for proxy in (before, now):
                    proxy.reload()
                old.update_one({"n": "943"}, {"$set": {"m": "943"}})
                before.stop()
                assert new.count_documents({"m": "943"}) == 1
                new.update_many({"n": "943"}, {"$set": {"n": "944"}})
                assert new.count_documents({"n": "944"}) == 2


def test_the_new_program_looks_at_the_old_files(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY, encoding="utf-8")
    with secantus(tmp_path) as database:
        upstream = f"127.0.0.1:{database.port}"
        proxy = ProxyProcess(ProxyOptions(tmp_path, policy, upstream, access_control=False))
        with proxy:
            environ = {"SEALWIRE_KEK": proxy.options.kek}
        assert __version__ in run_document(UPGRADE_PAGE, tmp_path, "check", environ)


# The commands of docs/operations/alerts.md, on the log of a proxy whose client has taken what it could.


ALERTS_PAGE = ROOT / "docs" / "operations" / "alerts.md"
AUDIT_PAGE = ROOT / "docs" / "operations" / "audit.md"
ALERTS_POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
subjects: {class: nhs}
"""
ALLOWED_S = 20.0
"""The page promises five seconds, and the demo of the governance measures them; this is for busy machines."""
PEOPLE = 1200


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the keys of the audit log, a policy and a file of rules."""
    run_document(AUDIT_PAGE, tmp_path, "key")
    warm.sealwire("audit", "create-key", "--subjects-key", "subjects.key", cwd=tmp_path, check=True)
    (tmp_path / "policy.yaml").write_text(ALERTS_POLICY)
    audit = {"path": "audit.jsonl", "key": "audit.key.pub", "checkpoints": "elsewhere"}
    document = {"version": 1, "audit": {key: str(tmp_path / name) for key, name in audit.items()}}
    document["state"] = str(tmp_path / "watch.sqlite")
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(document))
    return tmp_path


def number(person: int) -> str:
    return f"94{person:08d}"


@contextmanager
def clinic(folder: Path) -> Iterator[MongoClient[Any]]:
    """A client of a proxy that writes an audit log, with patients in the collection."""
    audit = {
        "path": "audit.jsonl",
        "key": "audit.key",
        "checkpoints": "elsewhere",
        "subjects_key": "subjects.key",
    }
    settings = {"audit": {key: str(folder / name) for key, name in audit.items()}}
    with (
        secantus(folder) as database,
        proxied(folder, folder / "policy.yaml", database.address, settings=settings) as proxy,
        MongoClient[Any](proxy.uri()) as client,
    ):
        patients = client["clinic"]["patients"]
        patients.insert_many([{"nhs_number": number(person)} for person in range(PEOPLE)])
        yield client


@contextmanager
def watching(folder: Path) -> Iterator[Path]:
    """A watch beside the proxy; where it writes."""
    said = folder / "said.jsonl"
    command = [sys.executable, "-m", "sealwire", "watch", str(folder / "alerts.yaml")]
    with said.open("wb") as file, warm.WarmProcess(command, stdout=file) as process:
        try:
            while b'"watching"' not in said.read_bytes():
                assert process.poll() is None
                time.sleep(0.05)
            yield said
        finally:
            process.terminate()
            assert process.wait(30) == 0


def seconds_until(said: Path, rule: str) -> float:
    """How long it takes until an alert of a rule is told."""
    begun = time.monotonic()
    while f'"rule": "{rule}"'.encode() not in said.read_bytes():
        assert time.monotonic() - begun < 60
        time.sleep(0.02)
    return time.monotonic() - begun


@own_server("it has one of its own")
def test_an_exfiltration_raises_an_alert_at_once(files: Path) -> None:
    with clinic(files) as client:
        run_document(ALERTS_PAGE, files, "learn")
        with watching(files) as said:
            taken = list(client["clinic"]["patients"].find({}, batch_size=100))
            assert len(taken) == PEOPLE
            assert seconds_until(said, "bulk-read") < ALLOWED_S
            assert seconds_until(said, "subjects") < ALLOWED_S
        told = said.read_bytes()
        assert client["clinic"]["patients"].count_documents({"nhs_number": number(7)}) == 1
        assert len(list(client["clinic"]["patients"].find({}))) == PEOPLE
    assert said.read_bytes() == told, "the watch had ended, and the proxy went on without it"
    assert number(7).encode() not in said.read_bytes() + (files / "audit.jsonl").read_bytes()


def refused(client: MongoClient[Any]) -> None:
    """Commands that nobody may send, in numbers."""
    for _ in range(20):
        with pytest.raises(OperationFailure):
            client["clinic"]["patients"].find_one({"nhs_number": {"$regex": number(7)}})


@own_server("it has one of its own")
def test_refusals_in_numbers_raise_one_at_once(files: Path) -> None:
    with clinic(files) as client, watching(files) as said:
        refused(client)
        assert seconds_until(said, "refused") < ALLOWED_S
    assert number(7).encode() not in said.read_bytes()


@own_server("it has one of its own")
def test_the_page_works_from_the_alert_to_the_end_of_the_incident(files: Path) -> None:
    with clinic(files) as client:
        run_document(ALERTS_PAGE, files, "secret")
        run_document(ALERTS_PAGE, files, "learn")
        document = yaml.safe_load((files / "alerts.yaml").read_text())
        document["tell"] = {
            "webhook": {"url": "https://127.0.0.1:1/", "secret": str(files / "webhook.secret")},
            "log": False,
        }
        (files / "alerts.yaml").write_text(yaml.safe_dump(document))
        refused(client)
        list(client["clinic"]["patients"].find({}))
    command = [sys.executable, "-m", "sealwire", "watch", str(files / "alerts.yaml"), "--once"]
    once = warm.run(command, capture_output=True, check=False)
    assert once.returncode == 1
    said = run_document(ALERTS_PAGE, files, "incident")
    assert "i1: closed" in said
    report = json.loads((files / "report.json").read_text())
    assert report["proof"]["proved"]
    assert report["events"]["refused"] == 20
    assert report["read"]["nhs"] >= PEOPLE
    assert report["subjects"]["distinct"] == PEOPLE
    for name in ("report.html", "ico.md"):
        assert number(7) not in (files / name).read_text()


# A watch that is killed again and again counts each line once, and tells of each alert.


KILLS = 6
SCRAPED = 40


def lines_of(number: int) -> list[dict[str, Any]]:
    """A line of each person."""
    return [line(number / 1000, user=f"u{person}@admin", read={"nhs": 10}) for person in range(SCRAPED)]


def test_a_watch_that_is_killed_counts_each_line_once(tmp_path: Path) -> None:
    config, said = tmp_path / "alerts.yaml", tmp_path / "said"
    config.write_bytes(source(tmp_path, "bulk-read: {at_least: 100}"))
    written, chance = 0, random.Random(7)
    command = [sys.executable, "-m", "sealwire", "watch", str(config)]
    for killed in range(KILLS):
        with said.open("ab") as file, warm.WarmProcess(command, stdout=file) as process:
            deadline = time.monotonic() + 60
            while said.read_bytes().count(b'"watching"') <= killed:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for _ in range(chance.randrange(3, 15)):  # and then it is killed in the middle of some
                append(tmp_path, lines_of(written))
                written += 1
                time.sleep(0.01)
            process.kill()
    done = warm.run([*command, "--once"], stdout=subprocess.PIPE, check=True)
    with said.open("ab") as file:
        file.write(done.stdout)
    state = StateFile(tmp_path / "watch.sqlite")
    found = Alerts(state).latest(1000, only_open=True)
    assert Alerts(state).untold() == {}
    state.close()
    bulk = [alert for alert in found if alert.rule.value == "bulk-read"]
    # what has become ten times as much is an alert of its own
    last = {dict(alert.about)["user"]: alert.amount for alert in reversed(bulk)}
    assert last == {f"u{person}@admin": 10 * written for person in range(SCRAPED)}
    told = {json.loads(each)["id"] for each in said.read_bytes().splitlines() if b'"alert"' in each}
    assert told == {alert.id for alert in found}


# Reports in a browser: nobody is kept out, nothing is cut off, and on paper the ground is white.


USERS = (("clinician@admin", 812), ("nightly-export@reporting", 301), ("reception@admin", 54))


def a_report(path: Path) -> None:
    days = [(f"2026-11-{day:02d}", day * 37 % 90) for day in range(1, 28)]
    plots = (columns("Lines each day", days), rows("Lines by user", USERS), rows("By event", USERS[:1]))
    marks = [
        ("one", Mark("pass", Tone.FINE)),
        ("two", Mark("partly", Tone.LOOK)),
        ("three", Mark("fail", Tone.ACT)),
    ]
    tables = (
        PageTable.of(("user", "lines"), USERS),
        PageTable.of(("check", "outcome"), marks),
        PageTable.of(("path", "hash"), [("/var/log/sealwire/" + "a" * 80, "0" * 64)]),
    )
    sections = (PageSection("Overview", ("What was counted.",), plots), PageSection("Counts", (), (), tables))
    facts = (("log", "/var/log/sealwire/audit.jsonl"), ("lines", 1167))
    write_page(path, ReportPage("Audit report", unverified("1167 lines"), facts, sections))


def test_a_report_can_be_read_on_every_screen_and_on_paper(tmp_path: Path) -> None:
    chromium = require_chromium()
    a_report(tmp_path / "report.html")
    command: list[str | Path] = ["node", NODE / "look_at_report.mjs", chromium, tmp_path / "report.html"]
    looks = json.loads(warm.run(command, capture_output=True, text=True, timeout=180, check=True).stdout)
    assert len(looks) == 7
    for name, look in looks.items():
        assert (name, look["violations"]) == (name, [])
        assert (name, look["overflow"]) == (name, 0)
    assert looks["paper-dark"]["background"] == "rgb(255, 255, 255)"
    assert looks["1024-dark"]["background"] != looks["1024-light"]["background"]
