"""One way to the data: runs a command and reduces the reply to what has to agree both ways.

Left out are `nModified`, which counts what changed for the server (docs/policies.md), error texts, plans and
cluster times.
"""

import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Side:
    """A client and the database that commands go to."""

    client: MongoClient[Document]
    name: str

    @property
    def database(self) -> Database[Document]:
        """Where the collections lie."""
        return self.client[self.name]

    def run(self, command: Command, session: ClientSession | None = None) -> Answer:
        """The answer to one command. Raises what is no answer of a server: a lost connection, for one."""
        try:
            return Answer(Outcome.ANSWERED, self._answer(command, session))
        except OperationFailure as error:
            return failure(error)

    def rows(self, collection: str) -> list[Document]:
        """All documents, by `_id`."""
        return list(self.database[collection].find().sort("_id"))

    def _answer(self, command: Command, session: ClientSession | None) -> str:
        body, database = command.body, self.database
        if "bulkWrite" in body:
            spaces = [{"ns": space["ns"].replace(DATABASE, self.name)} for space in body["nsInfo"]]
            body, database = body | {"nsInfo": spaces}, self.client.admin
        reply = database.command(wire_form(body) if command.malformed else body, session=session)
        if "explain" in body:
            return canonical({"returned": reply.get("executionStats", {}).get("nReturned")})
        said: Document = {name: reply[name] for name in _COUNTS if name in reply}
        if "values" in reply:
            said["values"] = unordered(reply["values"])
        if "lastErrorObject" in reply:
            said["last"] = reply["lastErrorObject"]
        if "writeErrors" in reply:
            said["errors"] = [_write_error(error) for error in reply["writeErrors"]]
        if "cursor" in reply:
            rows = self._drain(reply["cursor"], command.batch, session)
            if "bulkWrite" in body:
                rows = [_bulk_row(row) for row in rows]
            said["rows"] = rows if command.ordered else unordered(rows)
        return canonical(said)

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


def _write_error(error: Document) -> Document:
    return {name: error[name] for name in ("index", "code", *_DUPLICATE) if name in error}


def _bulk_row(row: Document) -> Document:
    return {name: row[name] for name in ("ok", "idx", "code", "n", "upserted", *_DUPLICATE) if name in row}
