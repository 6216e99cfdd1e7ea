"""The session core as the shell sees it, and how a session is made."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import Protocol

from sealwire.proxy.session.effects import CommandRecord, Effect
from sealwire.proxy.session.login.caller import Caller
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.login.identities import Certified
from sealwire.proxy.session.shared import Shared

# ---------------------- which connection gives its place to a newcomer when `limits.connections` is reached
#
# Clients that are logged in keep theirs. Drivers send `hello` at once, and so a connection without a
# whole message is idle or slow. Monitors of drivers never log in: connections without a login have half
# of the places, and only beyond that one of them gives way, of the address that has the most. So an
# address that opens connections without end meets the limit by itself.
#
# One address can still have all places with clients that are logged in, as behind a load balancer. When
# nobody gives way there are some places more, for addresses that have few.


class ClientStage(Enum):
    """How far a client has got."""

    SILENT = auto()
    """No whole message has come."""
    ANONYMOUS = auto()
    """It has no login, and the server asks for one."""
    KNOWN = auto()
    ENDING = auto()
    """Its place is about to come free."""


class Placed(Protocol):
    """A connection that has a place."""

    number: int
    """Later ones have greater numbers."""
    host: str
    """The client's address."""

    @property
    def standing(self) -> ClientStage:
        """How far the client has got."""

    def abort(self) -> None:
        """End it at once."""


def one_to_end(placed: Iterable[Placed], host: str, most: int) -> Placed | None:
    """Whose place a client from `host` takes; None: no one's.

    `most` is how many connections without a login may stay. Cost: O(connections).
    """
    by_standing: dict[ClientStage, list[Placed]] = {standing: [] for standing in ClientStage}
    for each in placed:
        by_standing[each.standing].append(each)
    if silent := by_standing[ClientStage.SILENT]:
        return min(silent, key=lambda each: each.number)
    anonymous = by_standing[ClientStage.ANONYMOUS]
    counts = Counter(each.host for each in anonymous)
    if len(anonymous) <= most:
        return None
    greedy, count = counts.most_common(1)[0]
    if counts[host] + 1 >= count:
        return None
    # the newest: older ones are monitors that a client relies on
    return max((each for each in anonymous if each.host == greedy), key=lambda each: each.number)


def kept_places(most: int) -> int:
    """How many places there are beyond `most`, for addresses that have fewer than that."""
    return most // 10


def has_kept_place(taken: Sequence[str], host: str, most: int) -> bool:
    """Whether a client from `host` may come beyond `most`. `taken` has the address of each that has a place.

    Cost: O(taken).
    """
    kept = kept_places(most)
    return len(taken) < most + kept and taken.count(host) < kept


class SessionCore(Protocol):
    """One client connection and its server connection, without the sockets. Every step returns effects."""

    def client_data(self, data: bytes) -> list[Effect]:
        """The client sent bytes."""

    def server_data(self, data: bytes) -> list[Effect]:
        """The server sent bytes."""

    def client_eof(self) -> list[Effect]:
        """The client has gone."""

    def server_eof(self) -> list[Effect]:
        """The server has gone."""

    def keys_loaded(self) -> list[Effect]:
        """The answer to NeedKeys: the keyring was loaded again, or could not be."""

    def go_on(self, *, from_client: bool) -> list[Effect]:
        """The answer to GoOn: handle more of what one peer has sent."""

    def certified(self, subject: str, certified: Certified) -> None:
        """The client has proved that it holds a certificate with this subject; before anything else."""

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply."""

    @property
    def is_silent(self) -> bool:
        """Whether the client has sent no whole message."""

    @property
    def is_anonymous(self) -> bool:
        """Whether the server asks for a login, and the client has none."""

    @property
    def oldest_awaited(self) -> int | None:
        """The id of the request that has waited longest for its reply; None where none waits."""

    @property
    def caller(self) -> Caller:
        """Who the client is, as far as anybody has said."""

    def unanswered(self) -> list[CommandRecord]:
        """Commands on record that await their reply."""

    @property
    def is_streaming(self) -> bool:
        """Whether more replies to a command come without a request."""

    @property
    def relies_on_lease(self) -> bool:
        """Whether the answer to a command under way depends on where values of classes are."""

    @property
    def is_outdated(self) -> bool:
        """Whether a command under way relies on that, and it is not known any more."""

    def move_began(self) -> None:
        """A class that moves is followed from now on."""

    def frontier_moved(self) -> list[Effect]:
        """How far a class has moved is known anew."""

    def settings_changed(self) -> None:
        """What is shared has other settings."""

    def tick(self, now_s: float, /) -> list[Effect]:
        """The monotonic clock, about once a second."""

    def drain(self) -> list[Effect]:
        """The proxy is about to stop: finish what is under way, then give a Close."""


# From what the sessions share and what their clients are told of addresses. `session.Session` is one; tests
# put their own sessions in its place.
SessionMaker = Callable[[Shared, Topology], SessionCore]
