"""Work that is asked for again and again runs one at a time, and once more for all who asked meanwhile."""

import asyncio

import pytest

from sealwire.proxy.server.tasks import OneAtATime, within
from tests.proxy.server.harness import until


class Work:
    """Counts its runs; each waits for leave, and fails where it was told to."""

    def __init__(self) -> None:
        self.began = 0
        self.ended = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fails = False
        self.may_end = asyncio.Event()

    async def __call__(self) -> None:
        self.began += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.may_end.wait()
        self.at_once -= 1
        self.ended += 1
        if self.fails:
            raise ValueError


async def test_all_who_ask_during_a_run_share_the_next() -> None:
    work = Work()
    once = OneAtATime(work, "work")
    once.ask()
    await until(lambda: work.began == 1)
    for _ in range(100):
        once.ask()
    work.may_end.set()
    await until(lambda: work.ended == 2)
    await asyncio.sleep(0)
    assert (work.began, work.most_at_once) == (2, 1)
    once.ask()
    await until(lambda: work.ended == 3)


async def test_work_that_fails_can_be_asked_for_again() -> None:
    work = Work()
    work.fails = True
    work.may_end.set()
    once = OneAtATime(work, "work")
    for count in (1, 2):
        once.ask()
        await until(lambda count=count: work.ended == count)  # type: ignore[misc]


async def test_who_asks_during_a_run_that_fails_still_gets_one() -> None:
    work = Work()
    work.fails = True
    once = OneAtATime(work, "work")
    once.ask()
    await until(lambda: work.began == 1)
    once.ask()
    work.may_end.set()
    await until(lambda: work.ended == 2)


async def test_who_asks_before_the_run_begins_gets_that_run() -> None:
    work = Work()
    work.may_end.set()
    once = OneAtATime(work, "work")
    once.ask()
    once.ask()
    await until(lambda: work.ended == 1)
    await asyncio.sleep(0)
    assert work.began == 1


async def test_what_takes_too_long_is_given_up() -> None:
    never = asyncio.Event()
    assert not await within(never.wait(), 0.0)
    assert await within(asyncio.sleep(0), 10.0)
    with pytest.raises(ZeroDivisionError):
        await within(fail(), 10.0)


async def fail() -> None:
    raise ZeroDivisionError
