"""How a job gives way, with a clock and a server that the test holds."""

from sealwire.sidecars.migration.throttle import LEAST_SHARE, Throttle


class World:
    """Time passes only by reads of the server and by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.latency_s = 0.010
        self.lag_s: float | None = None
        self.waits: list[float] = []

    def probe(self) -> None:
        self.now += self.latency_s

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def throttle(self, most: float = 1.0) -> Throttle:
        return Throttle(self.probe, lambda: self.lag_s, most, lambda: self.now, self.sleep)


def test_with_all_of_the_time_and_a_quiet_server_it_never_waits() -> None:
    world = World()
    throttle = world.throttle()
    for _ in range(20):
        throttle.after(1.0)
    assert world.waits == []


def test_a_share_is_kept() -> None:
    world = World()
    world.throttle(0.25).after(1.0)
    assert world.waits == [3.0]


def test_a_slower_server_gets_more_and_more_of_the_time_and_a_recovered_one_gives_it_back() -> None:
    world = World()
    throttle = world.throttle()
    world.latency_s = 0.014
    shares = []
    for _ in range(30):
        throttle.after(0.1)
        shares.append(throttle.share)
    assert shares == sorted(shares, reverse=True)
    assert throttle.share == LEAST_SHARE
    assert max(world.waits) == 0.1 * (1 / LEAST_SHARE - 1)
    world.latency_s = 0.010
    for _ in range(30):
        throttle.after(0.1)
    assert throttle.share == 1.0


def test_a_little_slower_is_within_bounds() -> None:
    world = World()
    throttle = world.throttle()
    world.latency_s = 0.0129
    throttle.after(1.0)
    assert world.waits == []
    world.latency_s = 0.0131
    for _ in range(3):
        throttle.after(1.0)
    assert len(world.waits) >= 1


def test_reads_of_microseconds_are_not_compared_by_their_noise() -> None:
    world = World()
    world.latency_s = 0.0001
    throttle = world.throttle()
    world.latency_s = 0.00025
    throttle.after(1.0)
    assert world.waits == []


def test_no_single_wait_is_long() -> None:
    world = World()
    world.throttle(0.01).after(60.0)
    assert world.waits == [5.0]


def test_members_that_lag_are_waited_for() -> None:
    world = World()
    throttle = world.throttle()
    world.lag_s = 9.0
    throttle.after(1.0)
    assert world.waits == []
    world.lag_s = 11.0
    throttle.after(1.0)
    assert world.waits == [1.0]
