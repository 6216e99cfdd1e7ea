"""docs/operations/monitoring.md: its commands, and whether a live proxy has what is asked for."""

import os
import re
import shutil
import urllib.request
from pathlib import Path

import pytest

from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from tests.build_context import ROOT
from tests.integration.conftest import Stack
from tests.monitored import MONITORING, metrics_named
from tests.support.debian_programs import require_program
from tests.support.doc_commands import run_document

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
