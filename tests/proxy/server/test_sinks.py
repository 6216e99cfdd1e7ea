"""Metrics, the audit sink and named tasks."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from sealwire.proxy.server.errors import FileProblem
from sealwire.proxy.server.observability.audit import FileAudit, Origin, open_audit
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.workers.supervisor import SupervisorMetrics
from sealwire.proxy.session.effects import Audit, Count, Counter
from sealwire.proxy.session.login.caller import Caller
from tests.build_context import ROOT
from tests.proxy.server.harness import until

RECORD = Audit("refused", "clinic.patients", "find", "pattern", "nhs_number")
ORIGIN = Origin("127.0.0.1:5", 7)
KNOWN = Origin("127.0.0.1:5", 7, "CN=ward", Caller(("ann@admin", "bob@clinic"), "rounds", "PyMongo 4.20"))


@pytest.mark.parametrize("counter", Counter)
def test_every_counter_of_the_core_has_a_metric(counter: Counter) -> None:
    metrics = Metrics()
    metrics.core.add(Count(counter, 2, "label"))
    metrics.core.add(Count(counter, 3, "label"))
    name = f"sealwire_{counter.value}_total"
    samples = [
        sample for family in metrics.registry.collect() for sample in family.samples if sample.name == name
    ]
    assert [sample.value for sample in samples] == [5]


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(sealwire_[a-z_]+?)(?:_total)?`", text))
    registries = (Metrics().registry, SupervisorMetrics(2).registry)
    families = [family for registry in registries for family in registry.collect()]
    ours = {family.name for family in families if family.name.startswith("sealwire_")}
    assert ours == documented


def test_without_a_path_audit_lines_go_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sink = open_audit(None, Metrics())
    sink.write(RECORD, ORIGIN)
    sink.close()
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
    file = tmp_path / "audit.jsonl"
    sink = FileAudit(file, Metrics())
    sink.write(RECORD, KNOWN)
    sink.close()
    said = json.loads(file.read_text())
    who = {name: said[name] for name in ("user", "certificate", "application", "driver")}
    assert who == {
        "user": "ann@admin bob@clinic",
        "certificate": "CN=ward",
        "application": "rounds",
        "driver": "PyMongo 4.20",
    }


def test_an_audit_file_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    for _ in range(2):
        sink = FileAudit(file, Metrics())
        sink.write(RECORD, ORIGIN)
        sink.close()
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110 - a device
def test_a_line_that_cannot_be_written_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    sink = FileAudit(Path("/dev/full"), metrics)
    sink.write(RECORD, ORIGIN)
    sink.close()
    assert metrics.value("sealwire_audit_failures_total") == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_an_audit_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileProblem):
        open_audit(tmp_path, Metrics())


async def test_a_task_that_fails_is_named_in_the_log_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        raise ValueError("9434765919")

    task = spawn(fail(), "accept mongo:27017")
    await until(task.done)
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert vars(record)["fields"] == {"task": "accept mongo:27017"}
    assert "9434765919" not in record.getMessage()


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    task = spawn(asyncio.sleep(3600), "waits")
    task.cancel()
    await until(task.done)
    assert task.get_name() == "waits"
    assert caplog.records == []
