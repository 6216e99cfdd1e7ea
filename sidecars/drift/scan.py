"""Reads documents as they are stored, and counts the condition of every covered value by its path."""

from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches

from sealwire.policies.file.schema import FieldClass, PathNode, leaves
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.drift.condition import Condition, Keys
from sealwire.sidecars.drift.contexts import ContextJudge

_MAX_NAMES = 512
"""Field names that are remembered beside each covered name, for hints."""


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

    def __init__(
        self, tree: PathNode, keys: Keys, namespace: str = "", contexts: ContextJudge | None = None
    ) -> None:
        """`contexts` judges the envelopes of contexts; None: each is taken for its document's."""
        self._namespace = namespace
        self._contexts = contexts
        self.documents = 0
        self._tree = tree
        self._keys = keys
        self._tallies = {leaf.path: _Tally() for leaf in leaves(tree)}
        self._names: dict[str, set[str]] = {}
        """Names of fields that were met beside covered ones, by the path of what holds them."""

    def read(self, raw: bytes) -> None:
        """Count one document. Raises BsonError for what is none. Cost: O(bytes)."""
        self.documents += 1
        walk = StoredValues(raw, self._tree, beside=self._note)
        present: set[str] = set()
        while walk.advance():
            present.add(walk.node.path)
            if walk.is_value:
                condition = self._keys.judge(walk.kind, raw[walk.value : walk.end], walk.leaf)
                if condition is Condition.PROTECTED and self._contexts is not None:
                    condition = self._contexts.judge(self._namespace, walk, raw)
                self._tallies[walk.node.path].values[condition] += 1
        for path in present:
            self._tallies[path].documents += 1

    def report(self) -> list[PathReport]:
        """Every covered path, in the policy's order."""
        return [self._report(leaf.path, leaf.leaf) for leaf in leaves(self._tree) if leaf.leaf is not None]

    def _report(self, path: str, field_class: FieldClass) -> PathReport:
        tally = self._tallies[path]
        hint = "" if tally.documents else self._nearest(path)
        return PathReport(path, field_class.name, tally.documents, dict(tally.values), hint)

    def _note(self, holder: PathNode, name: bytes) -> None:
        names = self._names.setdefault(holder.path, set())
        if len(names) < _MAX_NAMES:
            names.add(name.decode("utf-8", "replace"))

    def _nearest(self, path: str) -> str:
        """A name that documents have where they lack the first missing part of `path`."""
        parent, parts = "", path.split(".")
        for count, part in enumerate(parts):
            near = get_close_matches(part, self._names.get(parent, ()), n=1)
            if near:
                return ".".join([*parts[:count], near[0], *parts[count + 1 :]])
            parent = ".".join(parts[: count + 1])
        return ""
