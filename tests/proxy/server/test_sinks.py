"""Metrics and named tasks."""

import asyncio
import re

import pytest

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from sealwire.proxy.server.tasks import spawn
from tests.build_context import ROOT
from tests.proxy.server.harness import until


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "operations" / "observability.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(sealwire_[a-z_]+?)(?:_total)?`", text))
    registries = (Metrics().registry, SupervisorMetrics(2).registry)
    families = [family for registry in registries for family in registry.collect()]
    ours = {family.name for family in families if family.name.startswith("sealwire_")}
    assert ours == documented


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
