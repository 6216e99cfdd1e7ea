"""One way to the data: runs a command and reduces the reply to what has to agree both ways.

Left out are `nModified`, which counts what changed for the server (docs/policies.md), error texts, plans and
cluster times.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bson import Int64
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.policies.errors import Reason
from tests.integration.differential.command import DATABASE, Command
from tests.integration.differential.compare import canonical, unordered
from tests.integration.differential.left_out import is_nothing_left, moved, shortened
from tests.integration.differential.values import Document
from tests.policies.taint.values import wire_form

_COUNTS = (
    *("n", "nErrors", "nInserted", "nMatched", "nUpserted", "nDeleted"),
    *("upserted", "value", "numIndexesBefore", "numIndexesAfter"),
)
_DUPLICATE = ("keyPattern", "keyValue")
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


@dataclass(frozen=True, slots=True)
class Side:
    """A client and the database that commands go to."""

    client: MongoClient[Document]
    name: str

    @property
    def database(self) -> Database[Document]:
        """Where the collections lie."""
        return self.client[self.name]

    def run(
        self, command: Command, session: ClientSession | None = None, left_out: tuple[int, ...] = ()
    ) -> Answer:
        """The answer to one command, of which these statements are left out.

        Raises what is no answer of a server: a lost connection, for one.
        """
        try:
            return self._answer(command, session, left_out)
        except OperationFailure as error:
            return failure(error)

    def rows(self, collection: str) -> list[Document]:
        """All documents, by `_id`."""
        return list(self.database[collection].find().sort("_id"))

    def _answer(self, command: Command, session: ClientSession | None, places: tuple[int, ...]) -> Answer:
        body, database = command.body, self.database
        if places:
            body = shortened(body, places)
        if "bulkWrite" in body:
            spaces = [{"ns": space["ns"].replace(DATABASE, self.name)} for space in body["nsInfo"]]
            body, database = body | {"nsInfo": spaces}, self.client.admin
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
            rows = self._drain(reply["cursor"], command.batch, session)
            if "bulkWrite" in body:
                rows = _without_refused(rows, "idx", refused)
                rows = [_bulk_row(moved(row, "idx", places)) for row in rows]
                said["nErrors"] -= len(refused)
            said["rows"] = rows if command.ordered else unordered(rows)
        found = tuple(place for place, _ in refused)
        if found and is_nothing_left(body, found):
            return Answer(Outcome.REFUSED, "", refused[0][1])
        return Answer(Outcome.ANSWERED, canonical(said), left_out=found)

    def _drain(self, cursor: Document, batch: int, session: ClientSession | None) -> list[Document]:
        rows: list[Document] = list(cursor["firstBatch"])
        while cursor["id"]:
            database, _, collection = cursor["ns"].partition(".")
            more: Document = {"getMore": Int64(cursor["id"]), "collection": collection}
            more |= {"batchSize": batch} if batch else {}
            cursor = self.client[database].command(more, session=session)["cursor"]
            rows += cursor["nextBatch"]
        return rows


def failure(error: OperationFailure) -> Answer:
    """The answer that a command error is: its code and, for a duplicate, the key as the client sees it."""
    details: Any = error.details or {}
    refused = _REFUSAL.match(str(details.get("errmsg", "")))
    if refused is not None:
        return Answer(Outcome.REFUSED, "", Reason(refused.group(1)))
    said = {"code": error.code} | {name: details[name] for name in _DUPLICATE if name in details}
    return Answer(Outcome.ERROR, canonical(said))


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
