"""Keys of contexts are found in a thread, destroyed ones leave in time, and an outage is survived a while."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import ContextRow
from sealwire.keys.errors import KekUnavailable, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server.config.settings import KeySettings
from sealwire.proxy.server.context_feed import ContextFeed, OpenContexts
from sealwire.proxy.server.frontiers.store import Granted, ServerStore, StoreProblem
from sealwire.proxy.server.health import StoreReach
from sealwire.proxy.server.limit_feed import BUCKET_S, LimitFeed
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.replies import TooManyDocuments
from sealwire.proxy.session.shared import SessionSettings, Shared
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.samples import NOW
from tests.proxy.server.harness import StandingClock
from tests.proxy.session.world import POLICY_TEXT

KEYRING = keyring()


class Faulty(SqliteContextStore):
    """A store that can be away."""

    error: Exception | None = None
    meanwhile: Callable[[], None] = staticmethod(lambda: None)
    """What happens while keys are looked for."""

    def find(self, class_id: int, tags: Sequence[bytes]) -> list[ContextRow]:
        if self.error is not None:
            raise self.error
        self.meanwhile()
        return super().find(class_id, tags)

    def destroyed_after(self, mark: int) -> tuple[int, list[bytes]]:
        if self.error is not None:
            raise self.error
        return super().destroyed_after(mark)


class Keys:
    """A process whose keyring is older than another one's, until it is asked for a newer key."""

    def __init__(self) -> None:
        self.keyring = KEYRING
        self.newest = KEYRING
        self.asked: list[tuple[int, int]] = []

    async def keyring_with(self, keys: Sequence[tuple[int, int]]) -> Keyring | None:
        self.asked += keys
        self.keyring = self.newest
        return self.newest


class World:
    def __init__(self, store: Faulty, error: KekUnavailable | None = None) -> None:
        self.store = store
        self.clock = StandingClock(1000.0)
        self.cache = ContextCache()
        self.metrics = Metrics()
        settings = KeySettings(refresh_s=60.0, max_age_s=600.0)
        store.error = error
        opened = OpenContexts(store, None if error else store.destroyed_after(-1)[0], error)
        self.keys = Keys()
        self.feed = ContextFeed(opened, self.cache, self.keys, settings, self.metrics, self.clock)
        self.known: list[bool] = []

    async def find(self, *contexts: str, is_stored: bool = True) -> None:
        asked = [wanted(each, is_stored=is_stored) for each in contexts]
        await self.feed.find_for(asked, (), lambda: self.known.append(not self.cache.missing(asked)))

    async def tick(self) -> None:
        """And wait for the look that it may have begun."""
        self.feed.tick()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    def reach(self) -> StoreReach:
        return self.feed.reach

    def shred(self, context: str) -> None:
        row = Resolver(self.store).row_of(KEYRING, "notes", context.encode())
        assert row is not None
        shred(self.store, announce(self.store, row, NOW, NOW - NOW), NOW)

    def figure(self, name: str) -> float:
        return float(self.metrics.registry.get_sample_value(name) or 0.0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(Faulty(tmp_path / "contexts.db")) as store:
        yield World(store)


async def test_what_was_found_is_known_when_the_session_goes_on(world: World) -> None:
    await world.find("a", "b")
    assert world.known == [True]
    assert world.cache.missing([wanted("a"), wanted("b")]) == []
    await world.tick()
    assert world.figure("sealwire_context_keys") == 2


async def test_that_something_is_nowhere_is_known_for_that_moment_only(world: World) -> None:
    await world.find("a", is_stored=False)
    assert world.known == [True]
    assert world.cache.missing([wanted("a", is_stored=False)])


async def test_a_destroyed_key_leaves_within_the_refresh_time(world: World) -> None:
    await world.find("a", "b")
    await world.tick()
    world.shred("a")
    world.clock.now += 59.0
    await world.tick()
    assert len(world.cache) == 2
    world.clock.now += 1.0
    await world.tick()
    assert len(world.cache) == 1
    assert world.cache.missing([wanted("b")]) == []


async def test_a_key_destroyed_before_the_first_look_leaves_as_well(world: World) -> None:
    await world.find("a")
    world.shred("a")
    await world.tick()
    assert len(world.cache) == 0


async def test_a_store_that_is_away_gives_an_answer_all_the_same(world: World) -> None:
    await world.find("a")
    world.store.error = KekUnavailable(KeysReason.CONTEXTS, "away")
    await world.find("b")
    assert world.known == [True, False]
    world.store.error = RuntimeError("a bug")
    await world.find("c")
    assert world.known == [True, False, False]
    assert world.figure("sealwire_bugs_total") == 1


async def test_keys_serve_for_a_while_without_their_store_and_no_longer(world: World) -> None:
    await world.find("a")
    world.store.error = KekUnavailable(KeysReason.CONTEXTS, "away")
    world.clock.now += 600.0
    await world.tick()
    assert len(world.cache) == 1
    world.clock.now += 1.0
    await world.tick()
    assert len(world.cache) == 0


async def test_a_key_that_a_newer_keyring_wrapped_has_that_loaded(world: World) -> None:
    world.keys.newest = keyring(2)
    Resolver(world.store).find(keyring(2), [wanted("a")])
    await world.find("a")
    assert world.keys.asked == [(NOTES, 2)]
    assert world.known == [True]


@pytest.mark.parametrize(("changes", "is_known"), [(2, True), (3, False)])
async def test_another_keyring_that_comes_during_a_search_has_it_made_again(
    world: World, changes: int, is_known: bool
) -> None:
    await world.find("b")
    Resolver(world.store).find(KEYRING, [wanted("a")])
    left = [keyring() for _ in range(changes)]

    def another_keyring() -> None:
        if left:
            world.keys.keyring = left.pop()

    world.store.meanwhile = another_keyring
    await world.find("a")
    assert (world.known, left) == ([True, is_known], [])
    assert len(world.cache) == 1 + is_known


async def test_a_key_that_no_keyring_opens_is_not_known(world: World) -> None:
    Resolver(world.store).find(keyring(2), [wanted("a")])
    await world.find("a")
    assert world.known == [False]


async def test_other_times_count_at_once(world: World) -> None:
    await world.find("a")
    await world.tick()
    world.shred("a")
    world.feed.use_settings(KeySettings(refresh_s=5.0))
    world.clock.now += 5.0
    await world.tick()
    assert len(world.cache) == 0


async def test_values_of_destroyed_keys_are_counted(world: World) -> None:
    world.cache.destroyed_met = 3
    await world.tick()
    await world.tick()
    assert world.figure("sealwire_shredded_values_total") == 3


AWAY = KekUnavailable(KeysReason.CONTEXTS, "away", "wait")


async def test_a_store_that_is_away_at_the_start_is_asked_again_by_itself(tmp_path: Path) -> None:
    with closing(Faulty(tmp_path / "contexts.db")) as store:
        world = World(store, AWAY)
        assert world.reach() is StoreReach.AWAY
        await world.find("a")
        assert world.known == [False]
        await world.tick()
        assert world.figure("sealwire_context_store_away") == 1
        store.error = None
        world.clock.now += 5.0
        await world.tick()
        assert world.reach() is StoreReach.ANSWERS
        await world.find("a")
        assert world.known == [False, True]
        await world.tick()
        assert world.figure("sealwire_context_store_away") == 0


async def test_what_is_destroyed_after_the_first_answer_is_told(tmp_path: Path) -> None:
    """Whether a session or a look asked first, and before the look has come."""
    with closing(Faulty(tmp_path / "contexts.db")) as store:
        world = World(store, AWAY)
        await world.tick()
        store.error = None
        await world.find("a", "b")
        world.shred("a")
        world.clock.now += 5.0
        await world.tick()
        assert world.cache.missing([wanted("a"), wanted("b")]) == [wanted("a")]


async def test_a_store_that_goes_away_shows_soon_after_somebody_missed_it(world: World) -> None:
    await world.find("a")
    await world.tick()
    assert world.reach() is StoreReach.ANSWERS
    world.store.error = AWAY
    world.clock.now += 5.0
    await world.tick()
    assert world.reach() is StoreReach.ANSWERS
    await world.find("b")
    await world.tick()
    assert world.reach() is StoreReach.AWAY
    await world.find("a")
    assert world.known[-1]


async def test_a_class_that_is_in_clear_by_now_needs_no_key_and_others_get_theirs(world: World) -> None:
    """It was put back while the command waited: its session goes on without, and nothing is logged."""
    before = world.keys.keyring
    notes = DataKey("notes", NOTES, 1, KeyState.ACTIVE, NOW, bytes(64), is_plaintext=True)
    world.keys.keyring = Keyring([notes])
    await world.find("a")
    assert (world.known, len(world.cache), world.figure("sealwire_bugs_total")) == ([False], 0, 0.0)
    world.keys.keyring = before
    await world.find("a")
    assert world.known == [False, True]


async def test_a_look_that_is_asked_for_begins_later_and_does_not_wait_for_its_time(world: World) -> None:
    await world.find("a")
    world.feed.tick()
    asked = world.feed.look_again()
    await world.tick()
    assert 0 < world.feed.looked < asked
    world.shred("a")
    assert len(world.cache) == 1
    await world.tick()
    assert world.feed.looked == asked
    assert len(world.cache) == 0
    await world.tick()
    assert world.feed.looked == asked


async def test_a_look_that_the_store_does_not_answer_does_not_count(world: World) -> None:
    wanted = world.feed.look_again()
    world.store.error = AWAY
    await world.tick()
    assert world.feed.looked < wanted
    world.store.error = None
    await world.tick()
    assert world.feed.looked < wanted
    world.clock.now += 5.0
    await world.tick()
    assert world.feed.looked >= wanted


# Processes tell each other what they have granted of the limits of roles.


LIMITED = POLICY_TEXT + (
    b"roles: {desk: {users: [ann@admin], documents_per_hour: 10, classes: {'*': {read: clear}}}}\n"
)
ANN = "ann@admin"


@dataclass
class Server(ServerStore):
    """The collection of what was granted, in memory, and its clock."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    found: dict[tuple[str, str, int], Granted] = field(default_factory=dict)
    is_down: bool = False
    asked: list[datetime | None] = field(default_factory=list)
    """Since when each question was."""

    async def report(self, grants: Sequence[Granted]) -> None:
        if self.is_down:
            raise StoreProblem("no answer")
        for each in grants:
            self.found[each.process, each.who, each.bucket] = each._replace(changed=self.now)

    async def granted(self, besides: str, since: datetime | None) -> list[Granted]:
        self.asked.append(since)
        if self.is_down:
            raise StoreProblem("no answer")
        return [
            each
            for each in self.found.values()
            if each.process != besides and (since is None or (each.changed or self.now) >= since)
        ]


class Process:
    """One process that shares limits."""

    def __init__(self, server: Server, text: bytes = LIMITED) -> None:
        self.server = server
        self.now_s = 1_000_000.0 - 1_000_000 % BUCKET_S
        self.shared = Shared(SessionSettings(load_policy(text, "policy.yaml")), Keyring([]))
        self.feed = LimitFeed(self.shared, server, Metrics(), lambda: self.now_s)

    async def begin(self) -> "Process":
        await self.feed.__aenter__()
        return self

    async def round(self) -> None:
        await self.feed.round(self.server)

    async def end(self) -> None:
        await self.feed.__aexit__()

    def left(self, client: str = ANN) -> int:
        return self.shared.reads.left(client, 10)

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.server.now += timedelta(seconds=seconds)
        for _ in range(int(seconds)):
            self.shared.reads.next_second()


@asynccontextmanager
async def two_processes() -> AsyncIterator[tuple[Server, Process, Process]]:
    server = Server()
    one, other = await Process(server).begin(), await Process(server).begin()
    yield server, one, other
    await one.end()
    await other.end()


async def test_what_one_process_granted_counts_for_the_other() -> None:
    async with two_processes() as (_, one, other):
        one.shared.reads.take(ANN, 7, 10)
        assert (one.left(), other.left()) == (3, 10)
        for process in (one, other, one):
            await process.round()
        assert (one.left(), other.left(), other.left("bob@admin")) == (3, 3, 10)
        with pytest.raises(TooManyDocuments):
            other.shared.reads.take(ANN, 4, 10)
        other.shared.reads.take(ANN, 3, 10)
        for process in (other, one):
            await process.round()
            assert process.left() == 0


async def test_each_kind_of_limit_and_each_user_counts_apart_and_no_name_is_written() -> None:
    async with two_processes() as (server, one, other):
        one.shared.comparisons.take(ANN, 4, 10)
        one.shared.reads.take("bob@admin", 1, 10)
        await one.round()
        await other.round()
        assert other.left() == 10
        assert other.shared.comparisons.left(ANN, 10) == 6
        assert len(server.found) == 2
        assert "ann" not in str(server.found)


async def test_what_was_granted_before_a_restart_counts_afterwards() -> None:
    server = Server()
    before = await Process(server).begin()
    before.shared.reads.take(ANN, 7, 10)
    await before.end()
    after = await Process(server).begin()
    assert after.left() == 3
    await after.end()


async def test_what_others_granted_an_hour_ago_counts_no_more() -> None:
    async with two_processes() as (server, one, other):
        one.shared.reads.take(ANN, 7, 10)
        await one.round()
        other.later(BUCKET_S)
        await other.round()
        server.found.clear()
        other.later(3600 - 1)
        await other.round()
        assert other.left() == 3
        other.later(1)
        await other.round()
        assert other.left() == 10


async def test_what_the_store_kept_of_an_earlier_hour_does_not_count() -> None:
    server = Server()
    one, other = await Process(server).begin(), Process(server)
    one.shared.reads.take(ANN, 7, 10)
    await one.round()
    other.later(3600 + BUCKET_S)
    await other.begin()
    assert other.left() == 10
    await one.end()
    await other.end()


async def test_a_round_reads_what_is_new_and_everything_in_each_new_bucket() -> None:
    async with two_processes() as (server, one, other):
        one.shared.reads.take(ANN, 2, 10)
        await one.round()
        server.asked.clear()
        for _ in range(2):
            await other.round()
        other.later(BUCKET_S)
        await other.round()
        assert server.asked == [None, datetime(2025, 12, 31, 23, 59, 55, tzinfo=UTC), None]
        assert other.left() == 8


async def test_while_the_store_is_away_each_goes_on_and_reports_afterwards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with two_processes() as (server, one, other):
        one.shared.reads.take(ANN, 2, 10)
        await one.round()
        await other.round()
        server.is_down = True
        other.shared.reads.take(ANN, 3, 10)
        for _ in range(3):
            await other.round()
        assert other.left() == 5
        server.is_down = False
        other.shared.reads.take(ANN, 1, 10)
        await other.round()
        await one.round()
        assert (one.left(), other.left()) == (4, 4)
        events = [record.message for record in caplog.records if "shared" in record.message]
        assert events == ["limits of roles are not shared", "limits of roles are shared again"]


async def test_nothing_is_asked_if_no_role_has_a_limit() -> None:
    server = Server()
    process = await Process(server, POLICY_TEXT).begin()
    await process.round()
    assert server.asked == []
    policy = load_policy(LIMITED, "policy.yaml")
    process.shared.use_settings(replace(process.shared.settings, policy=policy))
    await process.round()
    assert server.asked == [None]
    await process.end()


async def test_without_a_store_a_process_counts_alone() -> None:
    shared = Shared(SessionSettings(load_policy(LIMITED, "policy.yaml")), Keyring([]))
    async with LimitFeed(shared, None, Metrics()):
        shared.reads.take(ANN, 2, 10)
    assert shared.reads.unreported is None
