"""Commands as they are sent: plain documents, so that a failure shows exactly what to type.

The name of the database is not in them: in `bulkWrite`, `DATABASE` stands for it.
"""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.shapes import KEPT, PEOPLE, VISITS
from tests.integration.differential.values import Document

DATABASE = "{database}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `kind`: its name in the tally; `ordered`: the order of its rows is part of the answer."""

    kind: str
    body: Document
    ordered: bool = False
    batch: int = field(default=0)
    """How many documents each `getMore` asks for; 0: as the server likes."""
    malformed: bool = False
    """Whether MongoDB rejects it, so that it must do nothing."""

    @property
    def changes(self) -> frozenset[str]:
        """The collections whose documents can be others afterwards."""
        name, target = next(iter(self.body.items()))
        if name == "bulkWrite":
            return frozenset({PEOPLE, VISITS})
        if self.kind == WRITING_PIPELINE:
            return frozenset({PEOPLE, KEPT})
        return frozenset({target} if name in _WRITING else ())


WRITING_PIPELINE, MAKING_VIEW = "aggregate writes", "create view"

_WRITING = {"insert", "update", "delete", "findAndModify"}

Commands = st.SearchStrategy[Command]


def cursor_command(kind: str, body: Document, batch: int, *, ordered: bool) -> Command:
    if kind == "find":
        body |= {"batchSize": batch} if batch else {}
    else:
        body |= {"cursor": {"batchSize": batch} if batch else {}}
    return Command(kind, body, ordered, batch)


def aggregate_command(kind: str, pipeline: list[Any], batch: int) -> Command:
    return cursor_command(kind, {"aggregate": PEOPLE, "pipeline": pipeline}, batch, ordered=False)
