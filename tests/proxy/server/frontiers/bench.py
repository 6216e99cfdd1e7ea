"""A process that follows frontiers, with all that it works on."""

from dataclasses import dataclass, field

from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.frontiers.feed import (
    Following,
    FrontierFeed,
)
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.moving.moves import Moves
from tests.proxy.server.frontiers.server import (
    CLASS,
    MOVING,
    Clock,
    MemoryServer,
    MemoryStore,
)


@dataclass(eq=False)
class Connection:
    """Counts what it is told."""

    moved: int = 0
    lost: int = 0
    began: int = 0

    def frontier_moved(self) -> None:
        self.moved += 1

    def frontier_lost(self) -> None:
        self.lost += 1

    def move_began(self) -> None:
        self.began += 1


@dataclass
class Bench:
    """A feed with all that it works on."""

    store: MemoryStore | None = field(default_factory=MemoryStore)
    moves: Moves = field(default_factory=Moves)
    metrics: Metrics = field(default_factory=Metrics)
    clock: Clock = field(default_factory=Clock)
    connection: Connection = field(default_factory=Connection)
    loads: int = 0
    feed: FrontierFeed = field(init=False)

    def __post_init__(self) -> None:
        self.feed = FrontierFeed(
            self.moves, {self.connection}, self._load_keys, self.metrics, self.store, self.clock
        )

    async def _load_keys(self) -> None:
        self.loads += 1

    @property
    def server(self) -> MemoryServer:
        assert self.store is not None
        return self.store.server

    @property
    def told(self) -> dict[str, dict[int, int]]:
        """By proxy, what the server was told."""
        return {proxy: told for proxy, (_, told) in self.server.leases.items()}

    async def rounds(self, number: int = 1) -> None:
        assert self.store is not None
        for _ in range(number):
            await self.feed.round(self.store)

    def later(self, seconds: float) -> None:
        """Both clocks go on."""
        self.clock.now_s += seconds
        self.server.later(seconds)

    def known(self, name: str = CLASS) -> Frontier | None:
        uses = self.moves.classes[name]
        return None if uses is None else uses.frontier


class Looks:
    """A store of the keys of contexts, in which somebody looks when the test says so."""

    def __init__(self) -> None:
        self.wanted = self.looked = 0

    def look_again(self) -> int:
        self.wanted += 1
        return self.wanted


async def following(keyring: Keyring = MOVING, *frontiers: Frontier) -> Bench:
    """A bench after its first rounds."""
    bench = Bench()
    for frontier in frontiers:
        bench.server.put(frontier)
    bench.feed.use_keyring(keyring)
    await bench.rounds(2)
    assert bench.feed.following is Following.FOLLOWS
    return bench
