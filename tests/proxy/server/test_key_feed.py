"""One load for all who ask at once, none within a second of the last, and an answer whatever happens."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from sealwire.keys.errors import KekUnavailable, KeysReason
from sealwire.keys.keyring import Keyring
from sealwire.proxy.server.key_feed import RELOAD_INTERVAL_S, KeyFeed
from sealwire.proxy.server.metrics import Metrics
from tests.proxy.server.harness import run, soon, until


class Store:
    """A keyring store that counts its loads and can be made to wait or fail."""

    def __init__(self) -> None:
        self.loads = 0
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> Keyring:
        self.loads += 1
        if not self.open.wait(10):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return Keyring([])


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def scenario(test: Callable[[Store, KeyFeed, Clock, Metrics], object]) -> None:
    async def work() -> None:
        store, clock, metrics = Store(), Clock(), Metrics()
        feed = KeyFeed(store, Keyring([]), metrics, clock)
        result = test(store, feed, clock, metrics)
        assert asyncio.iscoroutine(result)
        await result

    run(work())


def test_all_who_ask_at_once_share_one_load() -> None:
    async def test(store: Store, feed: KeyFeed, clock: Clock, metrics: Metrics) -> None:
        store.open.clear()
        asking = [asyncio.get_running_loop().create_task(feed.reload()) for _ in range(5)]
        await until(lambda: store.loads == 1)
        store.open.set()
        answers = await soon(asyncio.gather(*asking))
        assert store.loads == 1
        assert all(answer is feed.keyring for answer in answers)
        assert metrics.value("sealwire_key_reloads_total", outcome="loaded") == 1

    scenario(test)


def test_keys_that_stay_unknown_do_not_keep_the_store_busy() -> None:
    async def test(store: Store, feed: KeyFeed, clock: Clock, metrics: Metrics) -> None:
        first = await soon(feed.reload())
        assert await soon(feed.reload()) is first
        assert store.loads == 1
        clock.now += RELOAD_INTERVAL_S
        assert await soon(feed.reload()) is not first
        assert store.loads == 2

    scenario(test)


@pytest.mark.parametrize(
    ("error", "bugs"),
    [(KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer"), 0), (RuntimeError("9434765919"), 1)],
    ids=["provider down", "bug"],
)
def test_a_failed_load_keeps_the_old_keyring_and_can_be_mended(
    error: Exception, bugs: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(store: Store, feed: KeyFeed, clock: Clock, metrics: Metrics) -> None:
        old = feed.keyring
        store.error = error
        assert await soon(feed.reload()) is None
        assert await soon(feed.reload()) is None
        assert feed.failed
        assert feed.keyring is old
        assert store.loads == 1
        assert metrics.value("sealwire_bugs_total") == bugs
        clock.now += RELOAD_INTERVAL_S
        store.error = None
        assert await soon(feed.reload()) is feed.keyring
        assert not feed.failed
        assert feed.keyring is not old

    scenario(test)
    assert "9434765919" not in "".join(str(vars(record).get("fields")) for record in caplog.records)


def test_the_one_who_started_a_load_may_go_and_the_others_still_get_an_answer() -> None:
    async def test(store: Store, feed: KeyFeed, clock: Clock, metrics: Metrics) -> None:
        store.open.clear()
        loop = asyncio.get_running_loop()
        starter = loop.create_task(feed.reload())
        await until(lambda: store.loads == 1)
        other = loop.create_task(feed.reload())
        await asyncio.sleep(0)
        starter.cancel()
        store.open.set()
        assert await soon(other) is feed.keyring
        assert store.loads == 1

    scenario(test)
