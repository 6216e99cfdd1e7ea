"""Workers are asked, and whoever waits for them does not wait for those that have ended."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter

from sealwire.proxy.server.supervisor import asking
from sealwire.proxy.server.supervisor.asking import AskedWorkers
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.worker_channel import Ask, Family, Figures
from tests.proxy.server.harness import soon


def figures(number: int, count: int = 1) -> Figures:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(count)
    return Figures(number, families_of(registry))


class Asked:
    """Workers 1 and 2, which answer when the test says so."""

    def __init__(self) -> None:
        self.questions: list[tuple[int, Ask]] = []
        self.workers = AskedWorkers(lambda: (1, 2), lambda *question: self.questions.append(question))

    async def page(self) -> "asyncio.Task[bytes]":
        """What is on its way, and has asked."""
        task = asyncio.get_running_loop().create_task(self.workers.page(tuple[Family, ...]))
        await asyncio.sleep(0)
        return task


async def test_a_page_has_the_figures_of_all_workers() -> None:
    asked = Asked()
    page = await asked.page()
    assert asked.questions == [(1, Ask(1)), (2, Ask(1))]
    asked.workers.heard(1, figures(1, 3))
    asked.workers.heard(2, figures(1, 4))
    assert b"things_total 7.0" in await soon(page)


async def test_nobody_waits_for_a_worker_that_has_ended_and_its_counts_stay() -> None:
    asked = Asked()
    first = await asked.page()
    asked.workers.heard(1, figures(1, 3))
    asked.workers.heard(2, figures(1, 4))
    await soon(first)
    page = await asked.page()
    asked.workers.ended(1)
    asked.workers.heard(2, figures(2, 5))
    assert b"things_total 8.0" in await soon(page)


async def test_a_worker_that_does_not_answer_is_shown_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FIGURES_S", 0.01)
    asked = Asked()
    page = await asked.page()
    asked.workers.heard(1, figures(1, 3))
    assert b"things_total 3.0" in await soon(page)
    asked.workers.heard(2, figures(1, 4))  # too late for that page, and no harm
    assert await soon(asked.workers.facts()) is None
    assert asked.questions[-1] == (2, Ask(2, facts=True))


async def test_an_answer_to_a_question_of_before_is_none() -> None:
    asked = Asked()
    page = await asked.page()
    asked.workers.heard(1, figures(0, 3))
    asked.workers.heard(2, figures(1, 4))
    assert not page.done()
    asked.workers.heard(1, figures(1, 3))
    assert b"things_total 7.0" in await soon(page)
