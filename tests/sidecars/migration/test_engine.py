"""The loop of all jobs: what it writes down, how it ends, and how it gives way to the application."""

import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import JobTaken
from sealwire.sidecars.migration.engine import LEAST_SHARE, Engine, Pace, StepTaken, Stuck, Throttle
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.inspection import Remaining, of_files, of_oplog
from sealwire.sidecars.migration.job import Job, LeftValue, Standing, Tally, now
from sealwire.sidecars.migration.ledger import Wish
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import Fate, MemoryNotes, job

LEFT = LeftValue("clinic.patients", "notes", b"", Left.WRONG_TYPE)


class Counting(Engine):
    """Each step reads one document; after `most` of them a value is refused."""

    def __init__(self, notes: MemoryNotes, pace: Pace, most: int = 10**9) -> None:
        self.events: list[str] = []
        super().__init__(notes.job, notes, pace, lambda: self.events.append("abandoned"))
        self.most = most

    def _steps(self) -> Iterator[StepTaken]:
        while not self._stopped.is_set():
            if self.job.read == self.most:
                raise Stuck([LEFT])
            self.events.append("step")
            yield StepTaken(self._pace.clock(), lambda: self.job.counted(Tally(), 1, now()), 0.25)
        self._end(Standing.PAUSED)


def test_each_step_is_written_down_before_the_next_and_rested_after() -> None:
    notes = MemoryNotes(job(), Fate())
    rests: list[tuple[float, float]] = []
    told: list[Job] = []
    pace = Pace(lambda *seconds: rests.append(seconds), told.append, clock=iter(range(100)).__next__)
    done = Counting(notes, pace, 3).run()
    assert (done.standing, done.refusal, done.read) == (Standing.REFUSED, (LEFT,), 3)
    assert [each.read for each in told] == [1, 2, 3, 3]
    assert [each.revision for each in told] == [1, 2, 3, 4]
    # what a step waited for others is no work
    assert rests == [(0.75, 0.25)] * 3
    assert notes.job == done


@pytest.mark.parametrize(
    ("wish", "events"), [(Wish.PAUSE, ["step"]), (Wish.ABORT, ["step", "abandoned"])], ids=["pause", "abort"]
)
def test_a_wish_ends_it_after_the_step_and_only_an_abort_tidies_up(wish: Wish, events: list[str]) -> None:
    notes = MemoryNotes(job(), Fate())
    notes.wish = wish
    rests: list[float] = []
    engine = Counting(notes, Pace(lambda busy_s, _waited_s: rests.append(busy_s)))
    assert engine.run().standing is notes.job.standing
    assert (engine.events, rests) == (events, [])


def test_one_that_is_stopped_rests_no_more_and_notes_once_how_it_ended() -> None:
    notes = MemoryNotes(job(), Fate())
    rests: list[float] = []

    def tell(now: Job) -> None:
        if now.read == 2:
            engine.stop()

    engine = Counting(notes, Pace(lambda busy_s, _waited_s: rests.append(busy_s), tell))
    done = engine.run(workers=3)
    assert done.standing is Standing.PAUSED
    # each worker may have had a step on its way
    assert 2 <= done.read <= 4
    assert notes.job.revision == done.read + 1
    assert len(rests) <= 1


def test_a_job_that_another_process_took_is_written_by_that_one_only() -> None:
    notes = MemoryNotes(job(), Fate())
    engine = Counting(notes, Pace())
    notes.save(notes.job.noted(notes.job.created))
    with pytest.raises(JobTaken):
        engine.run()
    assert (engine.events, notes.job.revision) == (["step"], 1)


# ------------------------------------------------------------------------------------------ giving way


class Reads:
    """Time passes only by reads of the server and by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.latency_s = 0.010
        """Of a read right after a batch."""
        self.rest_s = 0.010
        """Of a read while the job rests."""
        self.resting = True
        self.lag_s: float | None = None
        self.waits: list[float] = []

    def probe(self) -> None:
        self.now += self.rest_s if self.resting else self.latency_s

    def sleep(self, seconds: float) -> None:
        self.resting = True
        self.waits.append(seconds)

    def work(self, throttle: Throttle, busy_s: float) -> None:
        self.resting = False
        throttle.after(busy_s)

    def throttle(self, most: float = 1.0) -> Throttle:
        return Throttle(self.probe, lambda: self.lag_s, most, lambda: self.now, self.sleep)


def test_with_all_of_the_time_and_a_quiet_server_it_never_waits() -> None:
    world = Reads()
    throttle = world.throttle()
    for _ in range(20):
        world.work(throttle, 1.0)
    assert world.waits == []


def test_a_share_is_kept() -> None:
    world = Reads()
    world.work(world.throttle(0.25), 1.0)
    assert world.waits == [3.0]


def test_a_slower_server_gets_more_and_more_of_the_time_and_a_recovered_one_gives_it_back() -> None:
    world = Reads()
    throttle = world.throttle()
    world.latency_s = 0.014
    shares = []
    for _ in range(30):
        world.work(throttle, 0.1)
        shares.append(throttle.share)
    assert shares == sorted(shares, reverse=True)
    assert throttle.share == LEAST_SHARE
    assert max(world.waits) == 0.1 * (1 / LEAST_SHARE - 1)
    world.latency_s = 0.010
    for _ in range(30):
        world.work(throttle, 0.1)
    assert throttle.share == 1.0


def test_a_little_slower_is_within_bounds() -> None:
    world = Reads()
    throttle = world.throttle()
    world.latency_s = 0.0119
    world.work(throttle, 1.0)
    assert world.waits == []
    world.latency_s = 0.0121
    for _ in range(3):
        world.work(throttle, 1.0)
    assert len(world.waits) >= 1


def test_reads_of_microseconds_are_not_compared_by_their_noise() -> None:
    world = Reads()
    world.latency_s = world.rest_s = 0.0001
    throttle = world.throttle()
    world.latency_s = 0.00025
    world.work(throttle, 1.0)
    assert world.waits == []


def test_no_single_wait_is_long() -> None:
    world = Reads()
    world.work(world.throttle(0.01), 60.0)
    assert world.waits == [5.0]


def test_members_that_lag_are_waited_for() -> None:
    world = Reads()
    throttle = world.throttle()
    world.lag_s = 9.0
    world.work(throttle, 1.0)
    assert world.waits == []
    world.lag_s = 11.0
    world.work(throttle, 1.0)
    assert world.waits == [1.0]


def test_an_application_that_has_more_to_do_is_not_the_job_s_doing() -> None:
    world = Reads()
    throttle = world.throttle(0.5)
    world.latency_s = world.rest_s = 0.050
    for _ in range(30):
        world.work(throttle, 0.1)
    assert throttle.share == 0.5


def test_workers_rest_together() -> None:
    """The second one comes while the first rests, and waits for the lock meanwhile."""
    world = Reads()
    resting, came = threading.Event(), threading.Event()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not resting.is_set():
            resting.set()
            assert came.wait(10)
            world.now += seconds

    def clock() -> float:
        now = world.now
        if resting.is_set():
            came.set()
        return now

    throttle = Throttle(world.probe, lambda: None, 0.5, clock, sleep)
    first = threading.Thread(target=throttle.after, args=(1.0,))
    first.start()
    assert resting.wait(10)
    throttle.after(1.0)
    first.join()
    assert waits == [1.0]


def test_what_was_waited_for_others_counts_as_rest() -> None:
    world = Reads()
    throttle = world.throttle(0.25)
    throttle.after(1.0, 2.0)
    throttle.after(1.0, 3.5)
    assert world.waits == [1.0]


def test_no_share_is_below_the_least_one() -> None:
    world = Reads()
    throttle = Throttle(world.probe, lambda: None, 1.0, lambda: world.now, world.sleep, least=0.4)
    world.latency_s = 0.1
    for _ in range(30):
        world.work(throttle, 0.1)
    assert throttle.share == 0.4


# Whether a server has room for values of the form before a move.


DENIED = OperationFailure("no", 13, {"codeName": "Unauthorized"})


class SmallServer:
    """Answers the few commands that are asked, or raises."""

    def __init__(
        self, stats: object = None, oldest: object = None, hello: Mapping[str, Any] | None = None
    ) -> None:
        self._stats, self._oldest, self._hello = stats, oldest, hello or {}

    def get_database(self, _name: str) -> "SmallServer":
        return self

    def get_collection(self, _name: str, **_options: Any) -> "SmallServer":
        return self

    def command(self, command: object, **_options: Any) -> object:
        return self._hello if command == "hello" else said(self._stats)

    def find_one(self, *_words: Any, sort: object) -> object:
        assert sort == [("$natural", 1)]
        return said(self._oldest)

    @property
    def client(self) -> Client:
        return cast(Client, self)


def said(answer: object) -> object:
    if isinstance(answer, Exception):
        raise answer
    return answer


def at(minutes: float) -> dict[str, object]:
    return {"ts": Timestamp(NOW + timedelta(minutes=minutes), 1)}


@pytest.mark.parametrize(
    ("oldest", "verdict"),
    [
        (at(-60), Remaining.PERHAPS),
        (at(0), Remaining.PERHAPS),
        (at(9), Remaining.PERHAPS),
        (at(11), Remaining.GONE),
        (None, Remaining.GONE),
        (DENIED, Remaining.UNKNOWN),
        ({"ts": "soon"}, Remaining.UNKNOWN),
    ],
    ids=["before", "at the end", "by its clock", "after", "no oplog", "denied", "no time"],
)
def test_an_oplog_that_begins_after_the_move_has_nothing_of_it(oldest: object, verdict: Remaining) -> None:
    assert of_oplog(SmallServer(oldest=oldest).client, NOW).verdict is verdict


def test_a_mongos_has_no_oplog_of_its_shards() -> None:
    found = of_oplog(SmallServer(oldest=None, hello={"msg": "isdbgrid"}).client, NOW)
    assert found.verdict is Remaining.UNKNOWN


def file(free: object) -> dict[str, object]:
    return {"block-manager": {"file bytes available for reuse": free}}


@pytest.mark.parametrize(
    ("stats", "verdict"),
    [
        ({"wiredTiger": file(0), "indexDetails": {"_id_": file(0)}}, Remaining.GONE),
        ({"wiredTiger": file(4096), "indexDetails": {"_id_": file(0)}}, Remaining.PERHAPS),
        ({"wiredTiger": file(0), "indexDetails": {"_id_": file(0), "nhs_1": file(8192)}}, Remaining.PERHAPS),
        ({"wiredTiger": file(0), "indexDetails": {"_id_": {}}}, Remaining.UNKNOWN),
        ({"wiredTiger": file("0")}, Remaining.UNKNOWN),
        ({}, Remaining.UNKNOWN),
        (DENIED, Remaining.UNKNOWN),
    ],
)
def test_free_pages_of_a_collection_and_of_its_indexes_count(stats: object, verdict: Remaining) -> None:
    found = of_files(SmallServer(stats).client, "clinic.patients")
    assert (found.verdict, "clinic.patients" in found.where) == (verdict, True)
