"""What the audit log is told of one command: what was sent, and what came of it.

Names of classes and counts, pseudonyms of persons, and what the client said of its purpose: never a value.
Both are made for each command, and write their `__init__` out; see `effects`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import final


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
