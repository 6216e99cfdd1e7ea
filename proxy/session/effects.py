"""What the core asks of the shell, and what the audit log is told with it of one command.

`Effect` is a closed union: the shell ends its dispatch with `assert_never`. Records have names of classes and
counts, pseudonyms of persons, and what the client said of its purpose: never a value.

What carries short messages, counts or is on record is made for each message. It is not frozen and writes its
`__init__` out: a generated one is not compiled. With `requests.Request` that saves 9,500 of the 94,000
instructions of a find-one. Nobody changes one all the same.
"""

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import final

from sealwire.keys.contexts.cache import ContextWanted


class CommandOutcome(StrEnum):
    """What came of a command."""

    OK = "ok"
    FAILED = "failed"
    """The server answered with an error, or with one of a statement."""
    WITHHELD = "withheld"
    """The server's answer did not reach the client: it could not be opened, or is too long."""
    UNANSWERED = "unanswered"
    """Nobody knows: a write without acknowledgement, or the connection ended before the answer."""


@final
@dataclass(slots=True, init=False)
class CommandRecord:
    """What a command is that was sent on."""

    namespace: str
    command: str
    written: dict[str, int]
    """By class: how many values it has to be stored."""
    filtered: dict[str, int]
    """By class: how many values stored ones are compared with; a range is one."""
    subjects: tuple[str, ...]
    """The pseudonyms of the persons whom it names, in a filter or as an identifier of what it stores."""
    ids: tuple[str, ...]
    """Pseudonyms of the documents that it names by their `_id`."""
    unnamed: int
    """How many of its statements write documents of persons whom nobody can tell."""
    purpose: str
    glass: str
    role: str
    users: tuple[str, ...]
    """Who has sent it, as `Caller` has them: a login or logout may follow before the reply is here."""
    act: str
    """Why it is on record whatever it names: a value of `Act`; empty: for another reason."""
    database: str
    """Where an act belongs that names no collection."""
    target: str
    """Whom or what an act is about besides: a user, a role, the new name of a collection."""
    begun_s: float
    """When it was sent, by the clock of the shell, which alone has one and sets it."""

    def __init__(  # noqa: PLR0913 - one for each field
        self,
        namespace: str,
        command: str,
        *,
        written: dict[str, int],
        filtered: dict[str, int],
        subjects: tuple[str, ...] = (),
        ids: tuple[str, ...] = (),
        unnamed: int = 0,
        purpose: str = "",
        glass: str = "",
        role: str = "",
        users: tuple[str, ...] = (),
        act: str = "",
        database: str = "",
        target: str = "",
    ) -> None:
        self.namespace = namespace
        self.command = command
        self.written = written
        self.filtered = filtered
        self.subjects = subjects
        self.ids = ids
        self.unnamed = unnamed
        self.purpose = purpose
        self.glass = glass
        self.role = role
        self.users = users
        self.act = act
        self.database = database
        self.target = target
        self.begun_s = 0.0


@final
@dataclass(slots=True, init=False)
class CommandResult:
    """What came of a command, or of one reply to it."""

    outcome: CommandOutcome
    reason: str
    """The server's code, or ours, where it is not OK."""
    read: dict[str, int]
    """By class: how many encrypted values were opened for the client."""
    documents: int
    """How many documents were shown."""
    subjects: tuple[str, ...]
    """The pseudonyms of the persons whose documents were shown."""
    unknown: int
    """How many of the documents are of persons whom nobody can tell."""
    affected: int
    """How many documents a write has stored, matched or deleted, as the server says: `n`."""
    modified: int
    """How many of them an update has changed: `nModified`."""
    deleted: int
    """How many of them bulkWrite has deleted: `nDeleted`."""
    opened: dict[str, int] | None
    """By class: how many distinct values were opened in documents that are put together; None: in no such."""
    gathered: int
    """How many elements arrays in such documents have."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each field
        self,
        outcome: CommandOutcome,
        reason: str = "",
        read: dict[str, int] | None = None,
        documents: int = 0,
        subjects: tuple[str, ...] = (),
        unknown: int = 0,
        affected: int = 0,
        modified: int = 0,
        deleted: int = 0,
    ) -> None:
        self.outcome = outcome
        self.reason = reason
        self.read = {} if read is None else read
        self.documents = documents
        self.subjects = subjects
        self.unknown = unknown
        self.affected = affected
        self.modified = modified
        self.deleted = deleted
        self.opened = None
        self.gathered = 0


UNANSWERED = CommandResult(CommandOutcome.UNANSWERED)


class CloseReason(Enum):
    """Why a session ends; every session ends in exactly one Close."""

    CLIENT_EOF = "client-eof"
    SERVER_EOF = "server-eof"
    CLIENT_PROTOCOL = "client-protocol"
    CLIENT_TLS = "client-tls"
    """It has begun TLS, and the listener is a plaintext one."""
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
    """The label is of `requests.COMPRESSED_LABELS`: with whom, which way, by what."""
    LOOK_UPS = "look_ups"
    VALUE_QUESTIONS = "value_questions"
    QUESTION_VALUES = "question_values"
    """Looked at to answer those, also where it was known what they are."""
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


class ObservedVerdict(StrEnum):
    """What would have become of a command, were the policy not only observed."""

    UNTOUCHED = "untouched"
    """It reaches nothing covered, and would pass as it came."""
    ANSWERED = "answered"
    ASKED = "two-steps"
    """It would be answered after a question for stored values."""
    LOOKED_UP = "name-asked"
    """It would pass after a question for what its name is. If that is a view, nobody has followed it."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ObservedCommand:
    """What would have become of a command: its shape, and never a value."""

    verdict: ObservedVerdict
    command: str
    """As it is counted."""
    namespace: str
    operator: str = ""
    """What was in the way, if it is an operator that somebody knows."""
    path: str = ""
    reason: str = ""
    application: str = ""
    """What the client calls itself."""


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
    | ObservedCommand
)
