"""What there is in the model `lifetimes`: rules that can be missing, faults, clients, proxies and jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final, NamedTuple, TypeVar

LEASE: Final = 1
IN_FLIGHT: Final = 1
LIFETIME: Final = 3
"""Longer than the other two together, as it is on a server."""
OUTLIVED: Final = LEASE + IN_FLIGHT + LIFETIME
GONE: Final = OUTLIVED + 1
"""Ages stop here: what is so old does not matter."""
NONE: Final = -1
LOST: Final = -2
"""What was read cannot be believed."""
T = TypeVar("T")

# Generations of the frontier: 0 is no document, then four for each move.
FIRST, OPENED, MOVING, OVER = 1, 2, 3, 4
# Stages of the keyring: three for each move.
QUIET, PENDING, BEGUN = 0, 1, 2
STAGES: Final = 3


class Weakness(Enum):
    """A rule that is not kept."""

    SENDS_WITHOUT_A_LEASE = auto()
    """While its keyring has no pending version, a proxy does not ask whether its lease stands."""
    FORGETS_EARLIER_TRANSACTIONS = auto()
    """A transaction that began before the class was followed is no use."""
    IGNORES_LEASES_EARLY = auto()
    """The job waits for LEASE and IN_FLIGHT, and not for transactions."""
    GIVES_BACK_A_BUSY_LEASE = auto()
    """A proxy that ends gives its lease back unless something is under way on a class that it follows."""
    COMMITS_WHAT_IT_LOST = auto()
    """A proxy forgets which transactions it lost, and commits before it notices that its lease lapsed."""
    READS_THE_TIME_LATER = auto()
    """The job reads the leases, and the time in a later step."""
    MESSAGES_LAST = auto()
    """What was sent may be carried out at any later time."""
    BEGINS_WITHOUT_THE_KEYRING = auto()
    """The keyring does not say that the move has begun."""
    IGNORES_NEWER_VERSIONS = auto()
    """A proxy passes over a frontier that names a version which its keyring does not have."""
    FORGETS_WHAT_WAS_SEEN = auto()
    """Nobody compares the frontier with what other processes have seen."""
    KEEPS_WHAT_IT_WROTE = auto()
    """A job does not tell what it wrote, so that only proxies say what was seen."""
    NAMES_NO_DATABASE = auto()
    """The keyring says that a move has begun, and not in which database `sealwire`."""
    OPENS_AT_ONCE = auto()
    """The job opens the first window as soon as every lease that it sees lets it."""
    BELIEVES_A_COPY = auto()
    """The job believes for how long no lease was lost, although the database was put back."""
    READS_WHAT_WAS = auto()
    """A transaction asks for a form that came after its first command."""
    FORGETS_RECENT_MOVES = auto()
    """A new process lets a transaction go on that it did not begin, however recently values have moved."""
    ENDS_WITH_AN_ERROR = auto()
    """A transaction holds nothing up once its commit has got no answer."""
    OVERWRITES = auto()
    """The job writes the frontier without a look at what stands there."""
    TURNS_BACK_EARLY = auto()
    """A move the other way does not wait for the workers of the move before."""
    SERVES_WHAT_IS_PENDING = auto()
    """A proxy without `frontier.uri_file` serves a class that has a pending version."""
    SERVES_WHAT_MOVED = auto()
    """It serves a class that has moved before."""
    COUNTS_NOBODY = auto()
    """The first move begins when every lease that there is lets it."""
    COUNTS_WHAT_ENDED = auto()
    """The lease of a proxy that has ended counts while it is current."""
    OPENS_AFTER_THE_COUNT = auto()
    """The first move does not wait for what a proxy without a lease left behind before the count."""


class Fault(Enum):
    """What goes wrong once, at any moment. Proxy 0 is the one that fails."""

    KILL = auto()
    END = auto()
    """It is asked to end."""
    STOP = auto()
    """It stands still, and goes on at any later moment."""
    LAPSE = auto()
    """It cannot renew its lease for a while, and can do everything else."""
    BREAK = auto()
    """Its connection to the server breaks while a commit is under way, which arrives later or never. The
    driver sends the commit again, through either proxy. A server that has it already does nothing then."""
    RESTART = auto()
    """A dead one starts again, with the keyring as it is."""
    RESTART_OLD = auto()
    """A dead one starts again, with a copy of the keyring that is older and stays so."""
    RESTART_WITHOUT = auto()
    """A dead one starts again at another address, without `frontier.uri_file`. Its keyring may be a copy."""
    STOP_JOB = auto()
    """The job stands still; another one goes on, and later the first one, too."""
    LOSE_FRONTIER = auto()
    LOSE_DATABASE = auto()
    """All of `sealwire`."""
    PUT_FRONTIER_BACK = auto()
    """To the first one of its move, if there is one."""
    PUT_DATABASE_BACK = auto()
    """All of `sealwire`: no lease of a proxy that runs is in it."""


GOING_BACK: Final = frozenset(
    {Fault.LOSE_FRONTIER, Fault.LOSE_DATABASE, Fault.PUT_FRONTIER_BACK, Fault.PUT_DATABASE_BACK}
)
REPLACING: Final = frozenset({Fault.LOSE_DATABASE, Fault.PUT_DATABASE_BACK})


class Op(IntEnum):
    """What a client does."""

    IDLE = auto()
    INSERT = auto()
    FIND = auto()
    TRANSACTION = auto()
    """An insert, and later its commit."""
    SNAPSHOT = auto()
    """A transaction of two commands: one that names no value, and later a search."""


class Phase(IntEnum):
    """How far a client is."""

    TO_DO = auto()
    SENT = auto()
    OPEN = auto()
    COMMITTING = auto()
    DONE = auto()


class Status(IntEnum):
    """Of a proxy, or of a job."""

    RUNNING = auto()
    ALONE = auto()
    """It does not reach its lease."""
    STOPPED = auto()
    DEAD = auto()


class Client(NamedTuple):
    """Client n uses proxy n, and any for a commit when that does not run."""

    op: Op
    phase: Phase = Phase.TO_DO
    form: int = NONE
    via: int = NONE
    """The proxy that sent what is in flight."""
    sent: int = NONE
    """The age of what is in flight."""
    opened: int = NONE
    """The age of its transaction, while the server has it."""
    is_known: bool = False
    """Its proxy counts the transaction as a use."""
    is_lost: bool = False
    """Its proxy remembers that it lost the transaction."""
    is_cut: bool = False
    """Its connection has gone, so that it sees no answer."""
    begun_at: int = NONE
    """The version whose form was valid at its transaction's first command, as its proxy remembers."""
    read: int = 0
    """The documents that its transaction reads."""


class Proxy(NamedTuple):
    """One process, and the lease that it holds."""

    status: Status = Status.RUNNING
    stage: int = 0
    """Of its keyring."""
    is_copy: bool = False
    """Its keyring stays as it is."""
    age: int = NONE
    """Of its lease; NONE: it has none."""
    acknowledged: int = 0
    known: int = NONE
    """The generation that was read under this lease; NONE, LOST."""
    seen: int = 0
    """The highest generation that this process has read."""
    is_listed: bool = True
    """Whether its lease is on the server still."""
    has_frontier: bool = True
    """Whether it has `frontier.uri_file`."""


class Job(NamedTuple):
    """One process that moves the class."""

    status: Status = Status.RUNNING
    generation: int = NONE
    """Of the frontier that it wrote or read last."""
    move: int = 0
    youngest: int = NONE
    """The age of the youngest lease that lets no window go, as it was read; GONE: none. NONE: not read."""
    database: int = 0
    """That in which it began."""
    is_updating: bool = False
    """It has read a document of the old form, and is about to change exactly that one."""
    unrenewed: int = NONE
    """A bit for each lease that it saw together with the others, and that was not renewed since."""


class State(NamedTuple):
    """Everything, at one moment."""

    documents: int
    """A bit for each form: a unique index takes each once."""
    proxies: tuple[Proxy, ...]
    clients: tuple[Client, ...]
    jobs: tuple[Job, ...]
    faults: tuple[Fault, ...]
    """Those that may still come."""
    frontier: int = 0
    stage: int = 0
    """Of the keyring at its place."""
    database: int = 0
    """It counts how often all of `sealwire` was replaced."""
    stands: int = GONE
    """For how long no lease was lost with the database, as the database says; NONE: it does not."""
    moved: int = GONE
    """How long ago the value moved, if a client's transaction reads."""
    named: int = NONE
    """The database that the keyring names for the move that has begun."""
    told: int = 0
    """The highest generation that any lease says its process has seen."""
    orphans: tuple[tuple[int, int], ...] = ()
    """Age and acknowledged generation of leases that were not given back."""
    former: int = NONE
    """The age of the lease that proxy 0 had at its former address; NONE: nobody takes it for current."""
    counted: int = NONE
    """How long ago the proxies were counted for the first move."""

    def with_proxy(self, number: int, proxy: Proxy) -> "State":
        return self._replace(proxies=_with(self.proxies, number, proxy))

    def with_client(self, number: int, client: Client) -> "State":
        return self._replace(clients=_with(self.clients, number, client))

    def with_job(self, number: int, job: Job) -> "State":
        return self._replace(jobs=_with(self.jobs, number, job))

    def with_orphan(self, proxy: Proxy) -> "State":
        """The lease of this proxy stays on the server until it is too old."""
        if proxy.age in (NONE, GONE) or not proxy.is_listed:
            return self
        return self._replace(orphans=without_older({*self.orphans, (proxy.age, proxy.acknowledged)}))


Step = tuple[str, State]


class WrongAnswer(AssertionError):
    """Something that cannot be seen without a move, and the steps to it."""


@dataclass(frozen=True)
class World:
    """Where it begins."""

    ops: tuple[Op, ...]
    faults: tuple[Fault, ...] = ()
    is_there: bool = False
    """Whether the value is stored."""
    moves: int = 1
    """Two: there and back. The third version has the first one's form, as plaintext has."""
    delays: bool = True
    """Whether messages may be under way while time passes."""
    is_down: bool = False
    """Whether proxy 0 does not run at first."""
    may_refuse: bool = False
    """Whether a fault makes it right that the class is refused until an operator comes."""
    is_first: bool = False
    """Whether the class has never moved before, so that proxies are counted."""
    is_without: bool = False
    """Whether proxy 0 has no `frontier.uri_file` at first."""
    is_surprised: bool = False
    """Whether a proxy without it may come after the count, with a keyring in which the class never moved."""

    def first(self) -> State:
        """Every proxy has a lease, and nothing moves."""
        proxies = tuple(Proxy(age=0, known=0) for _ in self.ops)
        if self.is_down:
            proxies = (Proxy(Status.DEAD), *proxies[1:])
        if self.is_without:
            proxies = (Proxy(has_frontier=False), *proxies[1:])
        return State(
            documents=int(self.is_there),
            proxies=proxies,
            clients=tuple(Client(op, Phase.DONE if op is Op.IDLE else Phase.TO_DO) for op in self.ops),
            jobs=(Job(), Job(Status.DEAD)) if Fault.STOP_JOB in self.faults else (Job(),),
            faults=self.faults,
        )


def _with(those: tuple[T, ...], number: int, one: T) -> tuple[T, ...]:
    return (*those[:number], one, *those[number + 1 :])


def without_older(orphans: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Without those that another one of no greater age and no later generation speaks for."""
    kept: list[tuple[int, int]] = []
    for age, acknowledged in sorted(set(orphans)):
        if all(acknowledged < other for _, other in kept):
            kept.append((age, acknowledged))
    return tuple(kept)
