"""When two answers are the same, and what a stored document holds without the proxy's help."""

from dataclasses import dataclass, field
from typing import Any

import bson
from bson import Binary, Decimal128
from hypothesis import strategies as st

from sealwire.crypto.envelope import MAGIC, SUBTYPE, EnvelopeMode, parse_any_header
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import Mode as PolicyMode
from sealwire.policies.file.schema import PathNode
from tests.integration.differential.opening import Opens
from tests.integration.differential.shapes import KEPT, PEOPLE, VISITS
from tests.integration.differential.values import Document
from tests.wire.corpus import document, element

UNORDERED = ("set", "z")
"""Fields that generated pipelines fill in an order that no server promises."""


def canonical(value: Any) -> str:
    """A text that is equal where MongoDB holds values for equal: 1, 1.0 and NumberLong(1) are one value.

    The order of a document's fields counts.
    """
    return repr(_plain(value))


def unordered(rows: list[Any]) -> list[str]:
    """Each row's text, sorted."""
    return sorted(map(canonical, rows))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {
            name: unordered(inner) if name in UNORDERED and type(inner) is list else _plain(inner)
            for name, inner in value.items()
        }
    if kind is list:
        return [_plain(inner) for inner in value]
    if kind is bool or kind is str:
        return value
    if kind is Decimal128:
        number = value.to_decimal()
        return _number(float(number)) if not number.is_finite() or number % 1 else int(number)
    return _number(value) if isinstance(value, int | float) else value


def _number(value: int | float) -> int | float:
    """One type for equal numbers, and every digit of a large one."""
    return int(value) if isinstance(value, int) or value.is_integer() else value


def is_envelope(value: Any) -> bool:
    """Whether a value is one of Sealwire's ciphertexts."""
    return isinstance(value, Binary) and value.subtype == SUBTYPE and value[:2] == MAGIC


def opened(value: Any, keyring: Opens) -> Any:
    """A stored value with every envelope in it decrypted. Raises what decrypting raises."""
    if isinstance(value, dict):
        return {name: opened(inner, keyring) for name, inner in value.items()}
    if isinstance(value, list):
        return [opened(inner, keyring) for inner in value]
    if not is_envelope(value):
        return value
    kind, content = keyring.open_envelope(bytes(value), 0, len(value))
    decoded: Document = bson.decode(document(element(kind, b"v", content)))
    return decoded["v"]


def wrongly_stored(
    value: Any, node: PathNode | None, keyring: Keyring, path: str = "", clear: frozenset[str] = frozenset()
) -> list[str]:
    """The paths where a stored value is not what the policy wants; empty when all is well.

    At a covered path: null, or an envelope of the path's own class and mode, or for the classes `clear` a
    value in plaintext. Elsewhere: no envelope. Paths see through arrays, and through fields whose names are
    numbers.
    """
    if isinstance(value, list):
        return [wrong for item in value for wrong in wrongly_stored(item, node, keyring, path, clear)]
    if node is not None and node.leaf is not None:
        if value is None:
            return []
        if isinstance(value, dict) and all(name.isdigit() for name in value):
            # what `{$set: {"list.1": ...}}` makes where there is no list
            return wrongly_stored(list(value.values()), node, keyring, path, clear)
        if not is_envelope(value):
            return [] if node.leaf.name in clear else [f"{path}: plaintext"]
        header = parse_any_header(bytes(value))
        own = keyring.cipher_for(node.leaf.name).class_id
        wanted = EnvelopeMode.RANDOM if node.leaf.mode is PolicyMode.RANDOM else EnvelopeMode.DETERMINISTIC
        right = header.class_id == own and header.mode == wanted
        return [] if right else [f"{path}: another class or mode"]
    if isinstance(value, dict):
        wrong = []
        for name, inner in value.items():
            below = node if node is None or name.isdigit() else node.children.get(name.encode())
            wrong += wrongly_stored(inner, below, keyring, f"{path}.{name}" if path else name, clear)
        return wrong
    return [f"{path}: an envelope in a clear field"] if is_envelope(value) else []


# Commands as they are sent: plain documents, so that a failure shows exactly what to type.
#
# The name of the database is not in them: in `bulkWrite`, `DATABASE` stands for it.


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
