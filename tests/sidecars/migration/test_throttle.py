"""How a job gives way, with a clock and a server that the test holds."""

import threading

from sealwire.sidecars.migration.throttle import LEAST_SHARE, Throttle


class World:
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
    world = World()
    throttle = world.throttle()
    for _ in range(20):
        world.work(throttle, 1.0)
    assert world.waits == []


def test_a_share_is_kept() -> None:
    world = World()
    world.work(world.throttle(0.25), 1.0)
    assert world.waits == [3.0]


def test_a_slower_server_gets_more_and_more_of_the_time_and_a_recovered_one_gives_it_back() -> None:
    world = World()
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
    world = World()
    throttle = world.throttle()
    world.latency_s = 0.0119
    world.work(throttle, 1.0)
    assert world.waits == []
    world.latency_s = 0.0121
    for _ in range(3):
        world.work(throttle, 1.0)
    assert len(world.waits) >= 1


def test_reads_of_microseconds_are_not_compared_by_their_noise() -> None:
    world = World()
    world.latency_s = world.rest_s = 0.0001
    throttle = world.throttle()
    world.latency_s = 0.00025
    world.work(throttle, 1.0)
    assert world.waits == []


def test_no_single_wait_is_long() -> None:
    world = World()
    world.work(world.throttle(0.01), 60.0)
    assert world.waits == [5.0]


def test_members_that_lag_are_waited_for() -> None:
    world = World()
    throttle = world.throttle()
    world.lag_s = 9.0
    world.work(throttle, 1.0)
    assert world.waits == []
    world.lag_s = 11.0
    world.work(throttle, 1.0)
    assert world.waits == [1.0]


def test_an_application_that_has_more_to_do_is_not_the_job_s_doing() -> None:
    world = World()
    throttle = world.throttle(0.5)
    world.latency_s = world.rest_s = 0.050
    for _ in range(30):
        world.work(throttle, 0.1)
    assert throttle.share == 0.5


def test_workers_rest_together() -> None:
    """The second one comes while the first rests, and waits for the lock meanwhile."""
    world = World()
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
    world = World()
    throttle = world.throttle(0.25)
    throttle.after(1.0, 2.0)
    throttle.after(1.0, 3.5)
    assert world.waits == [1.0]


def test_no_share_is_below_the_least_one() -> None:
    world = World()
    throttle = Throttle(world.probe, lambda: None, 1.0, lambda: world.now, world.sleep, least=0.4)
    world.latency_s = 0.1
    for _ in range(30):
        world.work(throttle, 0.1)
    assert throttle.share == 0.4
