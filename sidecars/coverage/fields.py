"""Counts what the values of each path look like, and judges the path by all of them and by the policy."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from bson import Int64

from sealwire.policies.file.schema import FieldClass, PathNode
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, Personal, held_in, looks_of
from sealwire.sidecars.raw_documents import is_envelope_value

MAX_PATHS: Final = 5000
"""The most paths of one collection. Documents that are maps, a field for each person, have no end of them."""
MAX_VALUES: Final = 20_000
"""The most values of one document."""
LEAST_SHARE: Final = 0.6
"""So much of a path's values have to look alike; fewer than this are chance, or another field's."""
_SHARES: Final[Mapping[Personal, float]] = {Personal.NAME: 0.3}
"""A list of given names has no more than some of them."""
_LEAST_VALUES: Final[Mapping[Personal, int]] = {Personal.NATIONAL_NUMBER: 3}
"""One random number of eleven digits in twenty is a national number of some country."""
LEAST_TEXTS: Final = 0.02
"""So much of a path's texts, and two of them, have to contain personal data: one may be a slip."""
_MAX_DEPTH: Final = 100


class Cover(Enum):
    """What a policy and the stored values say of a path."""

    ENCRYPTED = "covered and encrypted"
    PLAINTEXT = "covered, with values in clear"
    PERSONAL = "not covered, and looks personal"
    OTHER = "not covered"


@dataclass(frozen=True, slots=True)
class FieldReport:
    """One path of a collection."""

    path: str
    cover: Cover
    values: int
    """Those that are not null; elements of arrays each for itself."""
    class_name: str = ""
    kind: Personal | None = None
    value_type: str = ""
    """What most values are, as `$type` and a policy name it; empty for what no class of a type can hold."""
    share: float = 0.0
    """How much of the values look like `kind`; where the path is covered, how much are in clear."""
    in_text: bool = False
    """Whether `kind` is only a part of these values: they are texts that contain it."""


@dataclass(slots=True)
class _Tally:
    values: int = 0
    encrypted: int = 0
    types: Counter[str] = field(default_factory=Counter)
    looks: Counter[Personal] = field(default_factory=Counter)
    held: Counter[Personal] = field(default_factory=Counter)
    """Texts that contain a kind."""
    unlike: Counter[Personal] = field(default_factory=Counter)
    """Texts that contain a kind's form only, with wrong check digits."""

    def look(self, value: object, path: str) -> None:
        looks = looks_of(value, path)
        self.looks.update(looks)
        self.types[_type_of(value)] += 1
        if not looks:
            for kind, is_valid in held_in(value).items():
                (self.held if is_valid else self.unlike)[kind] += 1

    def kind(self) -> Personal | None:
        """What the values are, as a whole."""
        for each in Personal:
            least = max(_SHARES.get(each, LEAST_SHARE) * self.values, _LEAST_VALUES.get(each, 1))
            if self.looks[each] >= least:
                return each
        return None

    def kind_in_texts(self) -> Personal | None:
        """What the values contain."""
        least = max(LEAST_TEXTS * self.values, min(2, self.values))
        for each in Personal:
            hits = self.held[each]
            if hits >= least and hits >= LEAST_SHARE * (hits + self.unlike[each]):
                return each
        return None


class FieldCounts:
    """The paths of one collection's documents. Memory: O(paths), MAX_PATHS at most."""

    def __init__(self, tree: PathNode | None) -> None:
        """With what the policy covers there."""
        self._tree = tree
        self._tallies: dict[str, _Tally] = {}
        self.documents = 0
        self.is_cut = False
        """Whether there are more paths, or values of one document, than are counted."""
        self.long_texts = 0
        """Texts that were searched only in their first MAX_SEARCHED characters."""

    def read(self, document: Mapping[str, Any]) -> None:
        """Count the values of one document. Raises LibraryMissing.

        Cost: up to 100 us a value, some milliseconds a text; no more than MAX_VALUES values are read.
        """
        self.documents += 1
        for number, (path, value) in enumerate(_values(document, "", 0)):
            if number == MAX_VALUES:
                self.is_cut = True
                break
            tally = self._tallies.get(path)
            if tally is None:
                if len(self._tallies) >= MAX_PATHS:
                    self.is_cut = True
                    continue
                tally = self._tallies[path] = _Tally()
            tally.values += 1
            if is_envelope_value(value):
                tally.encrypted += 1
            elif self.class_at(path) is None:
                tally.look(value, path)
                self.long_texts += isinstance(value, str) and len(value) > MAX_SEARCHED

    def report(self) -> Iterator[FieldReport]:
        """Every path, by name."""
        for path, tally in sorted(self._tallies.items()):
            covering = self.class_at(path)
            if covering is not None:
                clear = tally.values - tally.encrypted
                cover = Cover.PLAINTEXT if clear else Cover.ENCRYPTED
                yield FieldReport(path, cover, tally.values, covering.name, share=clear / tally.values)
                continue
            yield _judged(path, tally)

    def class_at(self, path: str) -> FieldClass | None:
        """The class that covers a path: its own, or that of one above it."""
        node = self._tree
        for part in path.split("."):
            if node is None or node.leaf is not None:
                break
            node = node.child(part.encode())
        return None if node is None else node.leaf


def _judged(path: str, tally: _Tally) -> FieldReport:
    """The report of a path that is not covered."""
    value_type = tally.types.most_common(1)[0][0] if tally.types else ""
    kind = tally.kind()
    if kind is not None:
        share = tally.looks[kind] / tally.values
        return FieldReport(path, Cover.PERSONAL, tally.values, "", kind, value_type, share)
    kind = tally.kind_in_texts()
    if kind is not None:
        share = tally.held[kind] / tally.values
        return FieldReport(path, Cover.PERSONAL, tally.values, "", kind, value_type, share, in_text=True)
    return FieldReport(path, Cover.OTHER, tally.values)


def _type_of(value: object) -> str:
    # a long is an int of its own class in Python, and a bool is an int
    by_class = {str: "string", Int64: "long", int: "int", datetime: "date"}
    return by_class.get(type(value), "")


def _values(value: object, path: str, depth: int) -> Iterator[tuple[str, object]]:
    """Path and value of everything but nulls; arrays are seen through, as a policy does."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _values(inner, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, path, depth + 1)
    elif value is not None:
        yield path, value
