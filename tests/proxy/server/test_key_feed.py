"""One load for all who ask, none too often, an answer whatever happens, an end to keys that are too old."""

import asyncio
import gc
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.errors import KekUnavailable, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring, KeyringSource
from sealwire.proxy.server.config.settings import KeySettings
from sealwire.proxy.server.health import Freshness
from sealwire.proxy.server.key_feed import RELOAD_INTERVAL_S, RETRY_S, KeyFeed
from sealwire.proxy.server.observability.metrics import Metrics
from tests.keys.samples import NOW
from tests.proxy.server.harness import StandingClock, soon, until

REFRESH_S = 60.0
MAX_AGE_S = 600.0
DOWN = KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer")
FORGED = ((99, 1),)


def data_key(class_id: int) -> DataKey:
    return generate_data_key(f"class{class_id}", class_id, 1, NOW)


class Source(KeyringSource):
    """A source that counts its loads and can be made to wait or fail."""

    def __init__(self) -> None:
        self.keys = [data_key(1)]
        self.loads = 0
        self.forgotten = 0
        self.same: Keyring | None = None
        """What every load gives, as where nothing has changed."""
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()

    def load(self) -> Keyring:
        self.loads += 1
        keys = list(self.keys)  # the store is read first; then it takes its time
        if not self.open.wait(10):
            raise TimeoutError
        if self.error is not None:
            raise self.error
        return self.same or Keyring(keys)

    def forget(self) -> None:
        self.forgotten += 1


@dataclass
class Bench:
    """A feed between a source and those who are handed its keyrings."""

    age_s: float | None = None
    source: Source = field(default_factory=Source)
    clock: StandingClock = field(default_factory=StandingClock)
    metrics: Metrics = field(init=False)
    handed_on: list[Keyring] = field(default_factory=list)
    today: datetime = NOW
    feed: KeyFeed = field(init=False)

    def __post_init__(self) -> None:
        first = FirstKeyring(Keyring(self.source.keys), self.age_s, None if self.age_s is None else DOWN)
        settings = KeySettings(REFRESH_S, MAX_AGE_S)
        self.metrics = Metrics(lambda: self.today)
        self.feed = KeyFeed(self.source, first, settings, self.metrics, self.handed_on.append, self.clock)

    def ask(self, keys: tuple[tuple[int, int], ...] = FORGED) -> "asyncio.Task[Keyring | None]":
        return asyncio.get_running_loop().create_task(self.feed.keyring_with(keys))

    async def later(self, seconds: float) -> None:
        """`seconds` pass, the clock ticks, and a load that this began is over."""
        self.clock.now += seconds
        before = self.loads_ended
        started = self.source.loads
        self.feed.tick()
        await asyncio.sleep(0)
        if self.feed._flight is not None:
            await until(lambda: self.loads_ended > before)
        assert self.source.loads in (started, started + 1)

    def state(self) -> Freshness:
        return self.feed.freshness

    @property
    def loads_ended(self) -> float:
        name = "sealwire_key_reloads_total"
        return sum(self.metrics.value(name, outcome=outcome) for outcome in ("loaded", "failed"))


async def test_all_who_ask_at_once_share_one_load() -> None:
    bench = Bench()
    bench.source.keys.append(data_key(2))
    bench.source.open.clear()
    asking = [bench.ask(((2, 1),)) for _ in range(5)]
    await until(lambda: bench.source.loads == 1)
    bench.source.open.set()
    answers = await soon(asyncio.gather(*asking))
    assert bench.source.loads == 1
    assert all(answer is bench.feed.keyring for answer in answers)
    assert bench.metrics.value("sealwire_key_reloads_total", outcome="loaded") == 1


async def test_a_reload_loads_before_its_time() -> None:
    bench = Bench()
    bench.source.keys.append(data_key(2))
    assert await soon(bench.feed.load_anew()) is None
    assert bench.feed.keyring.knows(2, 1)
    assert bench.handed_on == [bench.feed.keyring]
    second = asyncio.get_running_loop().create_task(bench.feed.load_anew())  # too soon: it waits for its turn
    await asyncio.sleep(0)
    assert bench.source.loads == 1
    await bench.later(RELOAD_INTERVAL_S)
    assert await soon(second) is None
    assert bench.source.loads == 2


async def test_a_key_that_another_session_brought_in_needs_no_load() -> None:
    bench = Bench()
    assert await soon(bench.ask(((1, 1),))) is bench.feed.keyring
    assert bench.source.loads == 0


async def test_a_key_made_right_after_a_load_is_found_by_the_next() -> None:
    bench = Bench()
    await soon(bench.ask())
    bench.source.keys.append(data_key(2))
    asking = bench.ask(((2, 1),))
    await bench.later(RELOAD_INTERVAL_S / 2)
    assert not asking.done()
    assert bench.source.loads == 1
    await bench.later(RELOAD_INTERVAL_S / 2)
    answer = await soon(asking)
    assert answer is not None
    assert answer.knows(2, 1)


async def test_a_key_made_while_a_load_is_under_way_is_found_by_the_next() -> None:
    bench = Bench()
    bench.source.open.clear()
    first = bench.ask()
    await until(lambda: bench.source.loads == 1)
    bench.source.keys.append(data_key(2))
    second = bench.ask(((2, 1),))
    await asyncio.sleep(0)
    bench.source.open.set()
    early = await soon(first)
    assert early is not None
    assert not early.knows(2, 1)
    await bench.later(RELOAD_INTERVAL_S)
    late = await soon(second)
    assert late is not None
    assert late.knows(2, 1)


async def test_keys_that_stay_unknown_do_not_keep_the_provider_busy() -> None:
    bench = Bench()
    asking = []
    for quarter in range(20):
        asking += [bench.ask(((99, number),)) for number in range(1, 20)]
        await bench.later(RELOAD_INTERVAL_S / 4)
        assert bench.source.loads <= quarter // 4 + 2
    for _ in range(3):
        await bench.later(RELOAD_INTERVAL_S)
    assert all(task.done() for task in asking)


@pytest.mark.parametrize(
    ("error", "bugs"), [(DOWN, 0), (RuntimeError("9434765919"), 1)], ids=["provider down", "bug"]
)
async def test_a_failed_load_keeps_the_old_keyring_and_is_tried_again(
    error: Exception, bugs: int, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    old = bench.feed.keyring
    bench.source.error = error
    assert await soon(bench.ask()) is None
    assert bench.state() is Freshness.STALE
    assert bench.feed.keyring is old
    assert bench.metrics.value("sealwire_bugs_total") == bugs
    bench.source.error = None
    await bench.later(RETRY_S)
    assert bench.state() is Freshness.FRESH
    assert bench.feed.keyring is not old
    assert bench.handed_on == [bench.feed.keyring]
    assert "9434765919" not in "".join(str(vars(record).get("fields")) for record in caplog.records)


async def test_it_is_loaded_again_from_time_to_time_and_what_is_new_is_handed_on() -> None:
    bench = Bench()
    await bench.later(REFRESH_S - 1)
    assert bench.source.loads == 0
    bench.source.keys.append(data_key(2))
    await bench.later(1)
    assert bench.source.loads == 1
    assert bench.feed.keyring.knows(2, 1)
    assert bench.handed_on == [bench.feed.keyring]


async def test_the_same_keyring_is_not_handed_on_again() -> None:
    bench = Bench()
    same = bench.feed.keyring
    bench.source.load = lambda: same  # type: ignore[method-assign]
    await soon(bench.ask())
    assert bench.handed_on == []


async def test_keys_serve_until_nothing_was_heard_for_too_long_and_come_back() -> None:
    bench = Bench()
    bench.source.error = DOWN
    while bench.clock.now < 50.0 + MAX_AGE_S:
        await bench.later(RETRY_S)
        assert bench.feed.keyring.knows(1, 1)
    assert bench.state() is Freshness.STALE
    await bench.later(1)
    assert bench.state() is Freshness.EXPIRED
    assert not bench.feed.keyring.knows(1, 1)
    assert bench.handed_on == [bench.feed.keyring]
    assert bench.source.forgotten == 1
    assert bench.metrics.value("sealwire_keyring_expired") == 1
    assert bench.metrics.value("sealwire_keyring_age_seconds") > MAX_AGE_S
    bench.source.error = None
    await bench.later(RETRY_S)
    assert bench.state() is Freshness.FRESH
    assert bench.feed.keyring.knows(1, 1)
    assert bench.handed_on[-1] is bench.feed.keyring
    bench.feed.tick()
    assert bench.metrics.value("sealwire_keyring_expired") == 0


def keys_in_memory() -> int:
    """Counted, since compiled objects have no weak references."""
    gc.collect()
    return sum(type(each) is ValueCipher for each in gc.get_objects())


async def test_nobody_keeps_keys_that_were_given_up() -> None:
    bench = Bench()
    bench.source.error = DOWN
    before = keys_in_memory()
    await bench.later(MAX_AGE_S + 1)
    assert keys_in_memory() == before - 1


async def test_a_session_that_asks_after_the_end_does_not_get_the_keys_back() -> None:
    bench = Bench()
    bench.source.error = DOWN
    await bench.later(MAX_AGE_S + 1)
    asking = bench.ask(((1, 1),))
    await bench.later(RELOAD_INTERVAL_S)
    assert await soon(asking) is None
    assert not bench.feed.keyring.knows(1, 1)


async def test_an_answer_that_took_long_is_as_old_as_its_question() -> None:
    bench = Bench()
    bench.source.open.clear()
    asking = bench.ask()
    await until(lambda: bench.source.loads == 1)
    bench.clock.now += 30
    bench.source.open.set()
    await soon(asking)
    bench.feed.tick()
    assert bench.metrics.value("sealwire_keyring_age_seconds") == 30


async def test_a_keyring_from_a_cache_is_stale_from_the_start_and_as_old_as_the_cache() -> None:
    bench = Bench(100)
    assert bench.state() is Freshness.STALE
    bench.source.error = DOWN
    await bench.later(0)
    assert bench.source.loads == 1
    await bench.later(MAX_AGE_S - 100)
    assert bench.state() is Freshness.STALE
    await bench.later(1)
    assert bench.state() is Freshness.EXPIRED


async def test_the_one_who_started_a_load_may_go_and_the_others_still_get_an_answer() -> None:
    bench = Bench()
    bench.source.keys.append(data_key(2))
    starter, other = bench.ask(((2, 1),)), bench.ask(((2, 1),))
    await until(lambda: bench.source.loads == 1)
    starter.cancel()
    assert await soon(other) is bench.feed.keyring
    assert bench.source.loads == 1


async def test_the_active_keys_of_the_policy_show_their_age() -> None:
    bench = Bench()
    bench.metrics.show_policy("0", ["class1", "class2"])
    bench.source.keys.extend([data_key(2), data_key(3)])
    name = "sealwire_key_age_seconds"
    bench.today = NOW + timedelta(days=2)
    await bench.later(REFRESH_S)
    assert bench.metrics.value(name, **{"class": "class1"}) == 2 * 86_400
    assert bench.metrics.value(name, **{"class": "class2"}) == 2 * 86_400
    bench.today = NOW - timedelta(days=1)
    assert bench.metrics.value(name, **{"class": "class1"}) == 0
    bench.metrics.show_policy("1", ["class2"])
    shown = bench.metrics.render().decode()
    assert f'{name}{{class="class2"}}' in shown
    for hidden in ("class1", "class3"):
        assert f'class="{hidden}"' not in shown


async def test_keys_that_were_given_up_have_no_age() -> None:
    bench = Bench()
    bench.metrics.show_policy("0", ["class1"])
    age = b'sealwire_key_age_seconds{class="class1"}'
    assert age in bench.metrics.render()
    bench.source.error = DOWN
    await bench.later(MAX_AGE_S + 1)
    assert bench.state() is Freshness.EXPIRED
    assert age not in bench.metrics.render()


async def test_classes_in_clear_are_shown_and_keys_that_are_given_up_change_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()
    bench.metrics.show_policy("0", ["class1", "class2"])
    bench.source.keys.append(replace(data_key(2), is_plaintext=True))
    await bench.later(REFRESH_S)
    name = "sealwire_class_plaintext"
    shown = {each: bench.metrics.value(name, **{"class": each}) for each in ("class1", "class2")}
    assert shown == {"class1": 0, "class2": 1}
    assert bench.metrics.value("sealwire_key_age_seconds", **{"class": "class2"}) == 0
    (fields,) = [
        vars(record)["fields"] for record in caplog.records if record.message == "class is stored in clear"
    ]
    assert fields["class_name"] == "class2"
    assert "sealwire migrate encrypt POLICY class2" in fields["hint"]
    bench.source.error = DOWN
    await bench.later(MAX_AGE_S + 1)
    assert bench.state() is Freshness.EXPIRED
    assert bench.metrics.clear_classes.shown == ("class2",)


async def test_why_a_stored_value_cannot_be_opened_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.source.same = Keyring([DataKey("old", 9, 1, KeyState.RETIRED, NOW, bytes(range(64))), data_key(1)])
    for loads in (1, 2):
        asking = bench.ask(((1, 1), (9, 1), (9, 2)))
        await asyncio.sleep(0)
        await bench.later(RELOAD_INTERVAL_S)
        await soon(asking)
        assert bench.source.loads == loads
    said = [vars(record)["fields"] for record in caplog.records if record.levelname == "WARNING"]
    assert [(fields["reason"], fields["hint"]) for fields in said] == [
        ("retired", "sealwire keys retire old 1 --undo"),
        ("version-unknown", "the keyring is older than the data, or another one: restore its newest copy"),
    ]


async def test_forged_ids_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    asking = bench.ask(tuple((99, version) for version in range(1, 500)))
    await asyncio.sleep(0)
    await bench.later(RELOAD_INTERVAL_S)
    await soon(asking)
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 100
