"""One way to the data: runs a command and reduces the reply to what has to agree both ways.

Left out are `nModified`, which counts what changed for the server (docs/policies.md), error texts, plans and
cluster times.
"""

import random
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from bson import Int64
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.policies.errors import Reason
from tests.integration.differential.compare import DATABASE, Command, canonical, unordered
from tests.integration.differential.values import Document
from tests.policies.taint.values import wire_form

_COUNTS = (
    *("n", "nErrors", "nInserted", "nMatched", "nUpserted", "nDeleted"),
    *("upserted", "value", "numIndexesBefore", "numIndexesAfter"),
)
_DUPLICATE = ("keyPattern", "keyValue")
MOST_TRIES = 6
"""Of one command while classes move: each waits some seconds already, in the proxy."""

_MOVES = "a field moves to another key"
_MOVING: dict[int, tuple[str, ...]] = {
    43: ("a field has begun to move",),
    246: ("a field has moved to another key",),
    251: (_MOVES,),
    262: (_MOVES, "Sealwire cannot see at the moment whether a field moves"),
}
"""By code, how the texts begin of what may be sent again: a driver or its user does so."""

T = TypeVar("T")

_CODE = re.compile(r"\{('code': \d+)\}")
_REFUSAL = re.compile(r"^Sealwire refused .*\[([a-z-]+)\]$", re.DOTALL)


class Outcome(Enum):
    """How a command ended."""

    ANSWERED = "answered"
    ERROR = "failed alike"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What has to agree: `content` is the canonical text of a reply or an error."""

    outcome: Outcome
    content: str
    reason: Reason | None = None
    left_out: tuple[int, ...] = field(default=(), compare=False)
    """The places of statements that Sealwire has refused, while the others were carried out."""
    text: str = field(default="", compare=False)
    """The text of an error, shown where the ways differ."""


def is_of_a_question(through: Answer, plain: Answer) -> bool:
    """Whether the server has refused a question, for what it refuses the first statement of a write for.

    The question is asked before all statements, so its error is the command's.
    """
    said = _CODE.fullmatch(through.content) if through.outcome is Outcome.ERROR else None
    return said is not None and plain.content == f"{{'n': 0, 'errors': [{{'index': 0, {said[1]}}}]}}"


class TryAgain(Exception):
    """Sealwire cannot answer a command while classes move, and has not sent it."""

    def __init__(self, error: OperationFailure) -> None:
        super().__init__(str(error))
        self.code = error.code or 0


def is_of_a_move(error: OperationFailure) -> bool:
    """Whether a command fails only because classes move."""
    text = str((error.details or {}).get("errmsg", ""))
    return text.startswith(_MOVING.get(error.code or 0, ()))


@dataclass(frozen=True, slots=True)
class Side:
    """A client and the database that commands go to."""

    client: MongoClient[Document]
    name: str
    others: tuple[MongoClient[Document], ...] = ()
    """Clients of other proxies before the same server: each command goes through one of all."""
    chance: random.Random = field(default_factory=lambda: random.Random(1), repr=False)
    waits: list[int] = field(default_factory=list)
    """The codes with which commands were told to try again, as classes moved."""

    @property
    def database(self) -> Database[Document]:
        """Where the collections lie."""
        return self.client[self.name]

    def any_client(self) -> MongoClient[Document]:
        """The one through which the next command, or the next transaction, goes."""
        return self.chance.choice((self.client, *self.others)) if self.others else self.client

    def run(
        self, command: Command, session: ClientSession | None = None, left_out: tuple[int, ...] = ()
    ) -> Answer:
        """The answer to one command, of which these statements are left out; sent again while classes move.

        Raises what is no answer of a server: a lost connection, for one. TryAgain in a transaction.
        """
        if session is not None:
            return self._once(command, session, left_out)
        return self._patiently(lambda: self._once(command, None, left_out))

    def rows(self, collection: str) -> list[Document]:
        """All documents, by `_id`."""

        def read() -> list[Document]:
            try:
                return list(self.any_client()[self.name][collection].find().sort("_id"))
            except OperationFailure as error:
                if is_of_a_move(error):
                    raise TryAgain(error) from None
                raise

        return self._patiently(read)

    def _patiently(self, ask: Callable[[], T]) -> T:
        for _ in range(MOST_TRIES - 1):
            try:
                return ask()
            except TryAgain as again:
                self.waits.append(again.code)
        return ask()

    def _once(self, command: Command, session: ClientSession | None, left_out: tuple[int, ...]) -> Answer:
        try:
            client = self.any_client() if session is None else session.client
            return self._answer(client, command, session, left_out)
        except OperationFailure as error:
            if is_of_a_move(error):
                raise TryAgain(error) from None
            return failure(error)

    def _answer(
        self,
        client: MongoClient[Document],
        command: Command,
        session: ClientSession | None,
        places: tuple[int, ...],
    ) -> Answer:
        body, database = command.body, client[self.name]
        if places:
            body = shortened(body, places)
        if "bulkWrite" in body:
            spaces = [{"ns": space["ns"].replace(DATABASE, self.name)} for space in body["nsInfo"]]
            body, database = body | {"nsInfo": spaces}, client.admin
        reply = database.command(wire_form(body) if command.malformed else body, session=session)
        if "explain" in body:
            content = canonical({"returned": reply.get("executionStats", {}).get("nReturned")})
            return Answer(Outcome.ANSWERED, content)
        said: Document = {name: reply[name] for name in _COUNTS if name in reply}
        if "values" in reply:
            said["values"] = unordered(reply["values"])
        if "lastErrorObject" in reply:
            said["last"] = reply["lastErrorObject"]
        if places and "upserted" in said:
            said["upserted"] = [moved(item, "index", places) for item in said["upserted"]]
        refused: list[tuple[int, Reason]] = []
        if "writeErrors" in reply:
            errors = _without_refused(reply["writeErrors"], "index", refused)
            said["errors"] = [_write_error(moved(error, "index", places)) for error in errors]
        if not said.get("errors"):
            said.pop("errors", None)
        if "cursor" in reply:
            rows = _drain(client, reply["cursor"], command.batch, session)
            if "bulkWrite" in body:
                rows = _without_refused(rows, "idx", refused)
                rows = [_bulk_row(moved(row, "idx", places)) for row in rows]
                said["nErrors"] -= len(refused)
            said["rows"] = rows if command.ordered else unordered(rows)
        found = tuple(place for place, _ in refused)
        if found and is_nothing_left(body, found):
            return Answer(Outcome.REFUSED, "", refused[0][1])
        return Answer(Outcome.ANSWERED, canonical(said), left_out=found)


def _drain(
    client: MongoClient[Document], cursor: Document, batch: int, session: ClientSession | None
) -> list[Document]:
    rows: list[Document] = list(cursor["firstBatch"])
    while cursor["id"]:
        database, _, collection = cursor["ns"].partition(".")
        more: Document = {"getMore": Int64(cursor["id"]), "collection": collection}
        more |= {"batchSize": batch} if batch else {}
        cursor = client[database].command(more, session=session)["cursor"]
        rows += cursor["nextBatch"]
    return rows


def failure(error: OperationFailure) -> Answer:
    """The answer that a command error is: its code and, for a duplicate, the key as the client sees it."""
    details: Any = error.details or {}
    text = str(details.get("errmsg", ""))
    refused = _REFUSAL.match(text)
    if refused is not None:
        return Answer(Outcome.REFUSED, "", Reason(refused.group(1)))
    said = {"code": error.code} | {name: details[name] for name in _DUPLICATE if name in details}
    return Answer(Outcome.ERROR, canonical(said), text=text)


def _without_refused(items: list[Document], name: str, refused: list[tuple[int, Reason]]) -> list[Document]:
    """The items that are not Sealwire's, whose places and reasons go to `refused`."""
    others = []
    for item in items:
        found = _REFUSAL.match(str(item.get("errmsg", "")))
        if found is None:
            others.append(item)
        else:
            refused.append((item[name], Reason(found.group(1))))
    return others


def _write_error(error: Document) -> Document:
    return {name: error[name] for name in ("index", "code", *_DUPLICATE) if name in error}


def _bulk_row(row: Document) -> Document:
    return {name: row[name] for name in ("ok", "idx", "code", "n", "upserted", *_DUPLICATE) if name in row}


# Writes of which Sealwire leaves statements out: what a plain server is given in their place.


_STATEMENTS = {"insert": "documents", "update": "updates", "delete": "deletes", "bulkWrite": "ops"}


def shortened(body: Document, places: Sequence[int]) -> Document:
    """The command without the statements at these places, and when it is ordered without all that follow."""
    name = _STATEMENTS[next(iter(body))]
    statements = body[name]
    last = places[0] if body.get("ordered", True) else len(statements)
    left = [each for place, each in enumerate(statements[:last]) if place not in places]
    return body | {name: left}


def is_nothing_left(body: Document, places: Sequence[int]) -> bool:
    """Whether the server gets nothing of the command."""
    return not shortened(body, places)[_STATEMENTS[next(iter(body))]]


def hides_refusals(body: Document) -> bool:
    """Whether an error of the whole command leaves open which of its statements were sent.

    The server has such an error where MongoDB has one of a statement: for a pipeline that cannot be computed.
    """
    statements = body.get(_STATEMENTS.get(next(iter(body)), ""), ())
    return len(statements) > 1 and not body.get("ordered", True)


def moved(item: Document, name: str, places: Sequence[int]) -> Document:
    """One item of a reply to the shortened command, with the place that the client knows."""
    shifts = [place - before for before, place in enumerate(places)]
    return item | {name: item[name] + bisect_right(shifts, item[name])}
