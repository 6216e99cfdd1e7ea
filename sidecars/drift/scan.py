"""Reads documents as they are stored, and counts the condition of every covered value by its path."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from sealwire.policies.file.paths import is_transparent
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, leaves
from sealwire.sidecars.drift.condition import Condition, Keys
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, document_end, elements

_MAX_NAMES = 512
"""Field names that are remembered beside each covered name, for hints."""

_EMPTY = frozenset({kinds.NULL, kinds.UNDEFINED})


@dataclass(frozen=True, slots=True)
class PathReport:
    """What one covered path holds in the documents that were read."""

    path: str
    class_name: str
    documents: int
    """Documents that have the path; a null counts."""
    values: dict[Condition, int]
    """Values by condition; each element of an array is one. Nulls are none."""
    hint: str = ""
    """For a path that no document has: the name that is nearest to it, where one is near."""

    @property
    def is_sound(self) -> bool:
        """Whether every value is ciphertext that the class opens."""
        return all(condition.is_sound for condition in self.values)


@dataclass(slots=True)
class _Tally:
    documents: int = 0
    values: Counter[Condition] = field(default_factory=Counter)


class Census:
    """The counts of one collection while its documents are read."""

    def __init__(self, tree: PathNode, keys: Keys) -> None:
        self.documents = 0
        self._tree = tree
        self._keys = keys
        self._tallies = {leaf.path: _Tally() for leaf in leaves(tree)}
        self._names: dict[str, set[str]] = {}
        """Names of fields that were met beside covered ones, by the path of what holds them."""

    def read(self, raw: bytes) -> None:
        """Count one document. Raises BsonError for what is none. Cost: O(bytes)."""
        self.documents += 1
        document_end(raw, 0, len(raw))
        present: set[str] = set()
        self._read_document(raw, 0, self._tree, present, 0)
        for path in present:
            self._tallies[path].documents += 1

    def report(self) -> list[PathReport]:
        """Every covered path, in the policy's order."""
        return [self._report(leaf.path, leaf.leaf) for leaf in leaves(self._tree) if leaf.leaf is not None]

    def _report(self, path: str, field_class: FieldClass) -> PathReport:
        tally = self._tallies[path]
        hint = "" if tally.documents else self._nearest(path)
        return PathReport(path, field_class.name, tally.documents, dict(tally.values), hint)

    def _read_document(self, raw: bytes, start: int, node: PathNode, present: set[str], depth: int) -> None:
        if depth > MAX_DEPTH:
            return
        names = self._names.setdefault(node.path, set())
        for element in elements(raw, start):
            child = node.child(element.name)
            if child is not None:
                self._read_value(raw, element, child, present, depth + 1)
            elif is_transparent(element.name):
                self._read_value(raw, element, node, present, depth + 1)
            elif len(names) < _MAX_NAMES:
                names.add(element.name.decode("utf-8", "replace"))

    def _read_value(
        self, raw: bytes, element: Element, node: PathNode, present: set[str], depth: int
    ) -> None:
        if node.leaf is not None:
            present.add(node.path)
            for kind, value in _values(raw, element, node.leaf, depth):
                self._tallies[node.path].values[self._keys.judge(kind, value, node.leaf)] += 1
        elif element.kind == kinds.OBJECT:
            self._read_document(raw, element.value, node, present, depth)
        elif element.kind == kinds.ARRAY and depth <= MAX_DEPTH:
            for item in elements(raw, element.value):
                self._read_value(raw, item, node, present, depth + 1)

    def _nearest(self, path: str) -> str:
        """A name that documents have where they lack the first missing part of `path`."""
        parent, parts = "", path.split(".")
        for count, part in enumerate(parts):
            near = get_close_matches(part, self._names.get(parent, ()), n=1)
            if near:
                return ".".join([*parts[:count], near[0], *parts[count + 1 :]])
            parent = ".".join(parts[: count + 1])
        return ""


def _values(raw: bytes, element: Element, field_class: FieldClass, depth: int) -> Iterator[tuple[int, bytes]]:
    """The values that are encrypted one by one: of an array each, in a deterministic class."""
    if element.kind == kinds.ARRAY and field_class.mode is Mode.DETERMINISTIC and depth <= MAX_DEPTH:
        for item in elements(raw, element.value):
            yield from _values(raw, item, field_class, depth + 1)
    elif element.kind not in _EMPTY:
        yield element.kind, raw[element.value : element.end]
