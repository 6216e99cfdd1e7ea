"""What the core asks of the shell. A closed union: the shell ends its dispatch with `assert_never`.

Those that carry short messages or count are made for each message. They are not frozen and write their
`__init__` out: a generated one is not compiled. With `requests.Request` that saves 9,500 of the 94,000
instructions of a find-one. Nobody changes one all the same.
"""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import final

from sealwire.keys.contexts.cache import ContextWanted
from sealwire.proxy.session.records import CommandRecord, CommandResult


class CloseReason(Enum):
    """Why a session ends; every session ends in exactly one Close."""

    CLIENT_EOF = "client-eof"
    SERVER_EOF = "server-eof"
    CLIENT_PROTOCOL = "client-protocol"
    CLIENT_SILENT = "client-silent"
    """It has sent no whole message: a connection to the server is not held for it without end."""
    SERVER_PROTOCOL = "server-protocol"
    REFUSED_UNACKNOWLEDGED = "refused-unacknowledged"
    KEYS_UNAVAILABLE = "keys-unavailable"
    DRAINED = "drained"
    TOPOLOGY = "topology"


class Counter(StrEnum):
    """Every metric that the core counts. Strings, for these are looked up by a hash that costs no call."""

    COMMANDS = "commands"
    """Sent on to the server."""
    COMMANDS_REFUSED = "commands_refused"
    COMMANDS_FAILED = "commands_failed"
    """Allowed, and yet not sent: no login, no key, a move of values in the way."""
    SERVER_ERRORS = "server_errors"
    """Sent, and answered by the server with an error."""
    WRITE_ERRORS = "write_errors"
    """Sent, and answered by the server with errors of single writes."""
    REFUSALS = "refusals"
    VALUES_ENCRYPTED = "values_encrypted"
    VALUES_DECRYPTED = "values_decrypted"
    DECRYPTION_FAILURES = "decryption_failures"
    PROTOCOL_ERRORS = "protocol_errors"
    COMPRESSED_MESSAGES = "compressed_messages"
    """The label is of `labels.COMPRESSED_LABELS`: with whom, which way, by what."""
    LOOK_UPS = "look_ups"
    VALUE_QUESTIONS = "value_questions"
    GLASS_BROKEN = "glass_broken"
    LOGINS = "logins"
    LOGIN_FAILURES = "login_failures"


@final
@dataclass(slots=True, init=False)
class ToServer:
    """Write these bytes to the server."""

    data: bytes

    def __init__(self, data: bytes) -> None:
        self.data = data


@final
@dataclass(slots=True, init=False)
class ToClient:
    """Write these bytes to the client."""

    data: bytes

    def __init__(self, data: bytes) -> None:
        self.data = data


@dataclass(frozen=True, slots=True)
class LongToServer:
    """Write these pieces to the server, in order: one message. Whoever carries it out empties the list."""

    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class LongToClient:
    """Write these pieces to the client, as LongToServer."""

    pieces: list[bytes]


@dataclass(frozen=True, slots=True)
class NeedKeys:
    """Stop reading from both peers, load the keyring again and call `keys_ready`."""

    keys: tuple[tuple[int, int], ...]
    """(class id, key version) pairs that the present keyring does not hold."""
    contexts: tuple[ContextWanted, ...] = ()
    """Contexts whose keys a command needs."""
    context_keys: tuple[bytes, ...] = ()
    """Ids of keys of contexts that a reply needs."""


@dataclass(frozen=True, slots=True)
class PauseClient:
    """Stop reading from the client, or read from it again. The server goes on being read."""

    paused: bool


@dataclass(frozen=True, slots=True)
class GoOn:
    """Stop reading from one peer, and call `go_on` when its messages have somewhere to go, again and again.

    Some of them were received and not handled yet: a little data may become a lot when it is inflated or its
    ranges become lists.
    """

    from_client: bool


@dataclass(frozen=True, slots=True)
class Close:
    """Flush what was written, then close both connections. Nothing follows a Close."""

    reason: CloseReason
    detail: str = ""
    """For the log: a reason code and an offset at most, never content."""


@dataclass(frozen=True, slots=True)
class Audit:
    """One line for the audit sink. Names and reasons only, never a value."""

    event: str
    namespace: str
    command: str
    reason: str = ""
    path: str = ""
    purpose: str = ""
    """What the client says that it is for."""
    glass: str = ""
    """The reason that it gives for breaking the glass."""
    role: str = ""
    """The roles that count."""
    count: int = 1
    """How often it happened; the line says the last time."""
    users: tuple[str, ...] | None = field(default=None, compare=False)
    """The users that the line is about, as `Caller` has them. The session fills in None before it returns."""


@final
@dataclass(slots=True, init=False)
class Begun:
    """A command that is on record is about to be sent: note the time in its record."""

    record: CommandRecord

    def __init__(self, record: CommandRecord) -> None:
        self.record = record


@final
@dataclass(slots=True, init=False)
class Done:
    """One line for the audit sink, or several for many persons. What the client learns comes after it."""

    record: CommandRecord
    result: CommandResult

    def __init__(self, record: CommandRecord, result: CommandResult) -> None:
        self.record = record
        self.result = result


@final
@dataclass(slots=True, init=False)
class Count:
    """Add `amount` to a counter."""

    counter: Counter
    amount: int
    label: str
    """Reason or command name, from a closed set, where the counter has a label."""

    def __init__(self, counter: Counter, amount: int = 1, label: str = "") -> None:
        self.counter = counter
        self.amount = amount
        self.label = label


@dataclass(frozen=True, slots=True)
class StrangerMet:
    """The server has named a member of its set that has no listener: whoever follows the set looks anew."""


@dataclass(frozen=True, slots=True)
class PlaintextMet:
    """Values in clear were met where the policy wants ciphertext: where and how many, never which."""

    namespace: str
    path: str
    """As the policy names it."""
    amount: int


Effect = (
    ToServer
    | ToClient
    | LongToServer
    | LongToClient
    | NeedKeys
    | PauseClient
    | GoOn
    | Close
    | Audit
    | Begun
    | Done
    | Count
    | PlaintextMet
    | StrangerMet
)
