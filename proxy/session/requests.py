"""Pair replies with the requests they answer, exhaust streams included."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

from sealwire.policies.commands.planner import KNOWN_COMMANDS
from sealwire.policies.errors import Reason
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.plan import Openings
from sealwire.policies.questions.asked import ValuesQuestion
from sealwire.policies.questions.conditions import Value
from sealwire.proxy.session import replies
from sealwire.proxy.session.auditing.answers import AuditedCommand
from sealwire.proxy.session.compression import compressed_label
from sealwire.proxy.session.effects import CommandRecord, Count, Counter, Effect
from sealwire.proxy.session.login.authentication import CertificateLogin
from sealwire.proxy.session.login.caller import NOTHING_STATED, LoginNeeded, Stated
from sealwire.proxy.session.login.handshake import BalancerMismatch, OwnProbe
from sealwire.proxy.session.moving.moves import Hold
from sealwire.proxy.session.revealing.documents_read import UNKNOWN, ReplyDocuments
from sealwire.proxy.session.revealing.plaintext import Look
from sealwire.proxy.session.write_errors import WriteErrors
from sealwire.wire.compressors import COMPRESSOR_NAMES
from sealwire.wire.errors import WireReason

_MAX_COUNTED: Final = 1024
"""Namespaces: those of patterns come from clients."""

# Drivers send one request at a time on a connection. Only unacknowledged writes overlap, and no reply to them
# is awaited. A client that opens more than this is broken or hostile.
MAX_AWAITED: Final = 1024


# The closed sets from which the labels of what sessions count are taken: names of commands, and reasons.
#
# A label is never a client's own word: what is in none of these sets is counted as `OTHER`.

OTHER: Final = "other"

COUNTED_COMMANDS: Final = frozenset(name.decode() for name in KNOWN_COMMANDS)
"""Commands that are counted under their names."""

FAILURES: Final[tuple[type[Exception], ...]] = (
    LoginNeeded,
    CertificateLogin,
    BalancerMismatch,
    OwnProbe,
    *replies.FAILURES,
)
"""Why a command cannot be carried out although the policy allows it."""

NAME_UNKNOWN: Final = "NamespaceUnknown"
"""The server did not say what a name is, so the command was not sent."""
VALUES_UNKNOWN: Final = "ValuesUnknown"
"""It did not say which values a field holds."""

COMMAND_LABELS: Final[tuple[str, ...]] = (*sorted(COUNTED_COMMANDS), OTHER)
WRITE_LABELS: Final[tuple[str, ...]] = ("insert", "update", "delete", "bulkWrite", OTHER)
"""Commands with several writes, of which some may fail."""
REFUSAL_LABELS: Final[tuple[str, ...]] = (
    *(reason.value for reason in Reason),
    *(failure.__name__ for failure in FAILURES),
    NAME_UNKNOWN,
    VALUES_UNKNOWN,
)
WITHHELD_LABELS: Final[tuple[str, ...]] = tuple(failure.__name__ for failure in replies.FAILURES)
PROTOCOL_LABELS: Final[tuple[str, ...]] = tuple(reason.value for reason in WireReason)
COMPRESSED_LABELS: Final = {
    compressed_label(peer, direction, name): (peer, direction, name)
    for peer in ("client", "server")
    for direction in ("received", "sent")
    for name in COMPRESSOR_NAMES
}
"""What each label of compressed messages says: the peer, the way as the proxy sees it, the compressor."""

_REASONS: Final = frozenset(reason.value for reason in Reason)


def command_label(command: str) -> str:
    """Under what a command is counted."""
    return command if command in COUNTED_COMMANDS else OTHER


def split_label(label: str) -> tuple[str, str]:
    """The command of a label of `CommandCounts`, and its collection as the policy names it, or OTHER."""
    command, _, collection = label.partition(" ")
    return command, collection or OTHER


@final
class CommandCounts:
    """What to count of a command: it, and the collection that it names, under the policy's own word."""

    __slots__ = ("_by_namespace", "_policy")

    def __init__(self, policy: PolicySet) -> None:
        self._policy = policy
        self._by_namespace: dict[str, dict[str, Count]] = {}

    def sent(self, command: str, namespace: str) -> Count:
        """For a command that goes to the server; `command` is a label. Cost: two look-ups mostly."""
        by_command = self._by_namespace.get(namespace)
        if by_command is None:
            if len(self._by_namespace) >= _MAX_COUNTED:
                self._by_namespace.clear()
            by_command = self._by_namespace[namespace] = {}
        found = by_command.get(command)
        if found is None:
            found = by_command[command] = Count(Counter.COMMANDS, label=self.label(command, namespace))
        return found

    def label(self, command: str, namespace: str) -> str:
        """Under what a command is counted, for `split_label`."""
        collection = self._policy.declared(namespace)
        return f"{command_label(command)} {collection}" if collection else command_label(command)


def write_label(command: str) -> str:
    """Under what errors of a command's writes are counted."""
    return command if command in WRITE_LABELS else OTHER


def is_policy_reason(reason: str) -> bool:
    """Whether it is the policy that says no; else Sealwire could not carry the command out."""
    return reason in _REASONS


class RequestKind(Enum):
    """What the reply to a request needs."""

    HELLO = "hello"
    LEGACY_HELLO = "legacy-hello"
    COMMAND = "command"
    LOGIN = "login"
    """A step of an authentication."""
    MEMBERS = "members"
    """What a replica set says of its members."""
    QUESTION = "question"
    """Our own question to the server (`conversation.Question`)."""
    ABORT = "abort"
    """An abort in place of the client's commit, which is answered with an error (`moving.abandoned`)."""


@dataclass(slots=True)
class Again:
    """A write of one document, which may be asked about once more (`sides.ask_again`)."""

    message: bytes = field(repr=False)
    """As the client has sent it."""
    listed: dict[ValuesQuestion, frozenset[Value]] = field(repr=False)
    """The values that satisfied its conditions."""
    left: int
    """How often it may be sent again."""
    is_sorted: bool = False
    """Whether it writes the first document in an order of stored values: it may not find none by chance."""
    reply: list[Effect] = field(default_factory=list, repr=False)
    """What follows from the reply, once that has said that no document was found."""


@final
@dataclass(slots=True, init=False)
class Request:
    """A request that was sent on and waits for its reply. Never changed; see `effects` on its shape."""

    kind: RequestKind
    command: str
    namespace: str
    reveals: bool
    """Whether envelopes in the reply are opened."""
    marks: bool
    """Whether a cursor in the reply has to bring back that its replies are opened (`revealing.cursors`)."""
    errors: WriteErrors | None
    """The errors of the statements that were left out of it."""
    opens: Openings | None
    """Where these are opened; None: everywhere."""
    look: Look | None
    """By what plaintext is looked for in the reply; None: it is not looked for."""
    hold: Hold | None
    """What it uses of classes that move, until the reply is here."""
    stated: Stated
    """What the client says of it, by which roles show values of its reply."""
    client: str
    """As whose the documents of its reply count, where it was planned for one client; else as whose it is
    by then."""
    documents: ReplyDocuments
    """What its client's roles have to know of the documents that are shown."""
    users: tuple[str, ...] | None
    """Who has sent it, for lines of logs: a login or logout may follow before the reply is here. None where
    it is awaited for everybody who sends the same."""
    audited: AuditedCommand | None
    """What the audit log is told of it; None: nothing."""
    again: Again | None
    """How it is sent again if it finds nothing; None: it is not."""
    is_sorted: bool
    """Whether its documents are sorted by stored values."""

    def __init__(  # noqa: PLR0913 - one for each field
        self,
        kind: RequestKind,
        command: str,
        namespace: str,
        *,
        reveals: bool = False,
        marks: bool = False,
        errors: WriteErrors | None = None,
        opens: Openings | None = None,
        look: Look | None = None,
        hold: Hold | None = None,
    ) -> None:
        self.kind = kind
        self.command = command
        self.namespace = namespace
        self.reveals = reveals
        self.marks = marks
        self.errors = errors
        self.opens = opens
        self.look = look
        self.hold = hold
        self.stated = NOTHING_STATED
        self.client = ""
        self.documents = UNKNOWN
        self.users = None
        self.audited = None
        self.again = None
        self.is_sorted = False


@final
class AwaitedRequests:
    """Requests by the id that the next reply to them answers."""

    __slots__ = ("_requests", "_streams")

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}
        # Of each exhaust stream, both ways: the id that was answered last, and the id of that reply. Both are
        # among the requests.
        self._streams: dict[int, int] = {}

    @property
    def idle(self) -> bool:
        """Whether no command awaits its reply. A handshake does not count: monitors always have one open."""
        return not any(
            request.kind not in (RequestKind.HELLO, RequestKind.LEGACY_HELLO)
            for request in self._requests.values()
        )

    @property
    def streaming(self) -> bool:
        """Whether the server has more replies to a command than were asked for; handshakes do not count."""
        return any(self._requests[each].kind is RequestKind.COMMAND for each in self._streams)

    @property
    def oldest(self) -> int | None:
        """The id of the request that waits longest; None without one. A stream has no pace, and is none.

        Cost: O(1), for there are few streams.
        """
        return next((each for each in self._requests if each not in self._streams), None)

    def adopt(self, adopted: Callable[[Hold | None], Hold]) -> None:
        """A move begins: commands whose reply is opened, or in a transaction, have a hold from now on.

        What questions for values hold from now on is in the hold that they have, if frontiers are followed.
        """
        for request in {id(each): each for each in self._requests.values()}.values():
            is_held = request.reveals or request.hold is not None
            if is_held and request.kind in (RequestKind.COMMAND, RequestKind.QUESTION):
                request.hold = adopted(request.hold)

    @property
    def reveals(self) -> bool:
        """Whether a command whose reply is opened is under way."""
        return any(each.kind is RequestKind.COMMAND and each.reveals for each in self._requests.values())

    @property
    def has_unheld(self) -> bool:
        """Whether one of them was sent before anything moved, so that nobody noted what it uses."""
        requests = self._requests.values()
        return any(
            each.kind is RequestKind.COMMAND and each.reveals and each.hold is None for each in requests
        )

    def holds(self) -> Iterator[Hold]:
        """What the commands use of classes that move."""
        return (request.hold for request in self._requests.values() if request.hold is not None)

    def unanswered(self) -> list[CommandRecord]:
        """The records of commands that have a line whatever comes of them, and that await their reply."""
        audited = {id(each): each.audited for each in self._requests.values()}
        return [each.record for each in audited.values() if each is not None and each.is_certain]

    @property
    def full(self) -> bool:
        """Whether no further request can be awaited."""
        return len(self._requests) >= MAX_AWAITED

    def has_room_for(self, request_id: int) -> bool:
        """Whether one more request with this id can be told from all others."""
        return request_id not in self._requests and not self.full

    def add(self, request_id: int, request: Request) -> None:
        """Wait for a reply to `request_id`, for which there is room."""
        self._requests[request_id] = request

    def find(self, request_id: int) -> Request | None:
        """The request that a reply to this id would answer."""
        return self._requests.get(request_id)

    def answer(self, response_to: int, reply_id: int, *, more_to_come: bool) -> Request | None:
        """The request that a reply answers; None when there is none, or the next one would answer two.

        In an exhaust stream each reply answers the one before it (OP_MSG, exhaustAllowed); a server that
        keeps naming the first request is understood as well. Cost: O(1).
        """
        request = self._requests.pop(response_to, None)
        if request is None:
            return None
        if self._streams:
            other = self._streams.pop(response_to, response_to)
            self._streams.pop(other, None)
            self._requests.pop(other, None)
        if more_to_come:
            if reply_id in self._requests:
                return None
            self._requests[response_to] = self._requests[reply_id] = request
            self._streams[response_to] = reply_id
            self._streams[reply_id] = response_to
        return request
