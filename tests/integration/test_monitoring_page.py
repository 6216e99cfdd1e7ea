"""docs/operations/monitoring.md: its commands, and whether a live proxy has what is asked for."""

import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest

from sealwire import __version__
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.conftest import Stack
from tests.monitored import MONITORING, metrics_named
from tests.support.debian import require_program
from tests.support.doc_commands import run_document
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
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
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
