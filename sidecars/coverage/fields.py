"""Counts what the values of each path look like, and judges the path by all of them and by the policy."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from bson import Int64, decode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import SERVER_DATABASES, FieldClass, PathNode, PolicySet, belongs_to_server
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, MAX_TEXT, Personal, held_in, looks_of
from sealwire.sidecars.direct import RAW, Client, documents_of, failure
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
MAX_MARKS: Final = 50_000
"""The most values of one collection that are remembered by a mark."""
_LEAST_MARKED_TEXT, _LEAST_MARKED_NUMBER = 4, 10_000
"""Smaller values are shared by chance."""


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
    other_types: int = 0
    """How many values have a type other than `value_type`."""
    marks: frozenset[int] = field(default=frozenset(), repr=False, compare=False)
    """Marks of its values, the same for equal ones, if asked for: they show what two paths share."""


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
    marks: set[int] = field(default_factory=set)

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

    def __init__(self, tree: PathNode | None, *, marks: bool = False) -> None:
        """With what the policy covers there. `marks`: keep marks of values, to see which two paths share."""
        self._tree = tree
        self._marks_left = MAX_MARKS if marks else 0
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
                if self._marks_left > 0 and _can_be_marked(value):
                    before = len(tally.marks)
                    tally.marks.add(hash((_type_of(value), value)))
                    self._marks_left -= len(tally.marks) - before
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
    value_type, typed = tally.types.most_common(1)[0] if tally.types else ("", 0)
    marks, others = frozenset(tally.marks), tally.values - typed
    for kind, hits, in_text in (
        (tally.kind(), tally.looks, False),
        (tally.kind_in_texts(), tally.held, True),
    ):
        if kind is not None:
            share = hits[kind] / tally.values
            return FieldReport(
                path,
                Cover.PERSONAL,
                tally.values,
                kind=kind,
                value_type=value_type,
                share=share,
                in_text=in_text,
                other_types=others,
                marks=marks,
            )
    return FieldReport(path, Cover.OTHER, tally.values, marks=marks)


def _can_be_marked(value: object) -> bool:
    if isinstance(value, str):
        return _LEAST_MARKED_TEXT <= len(value) <= MAX_TEXT
    return isinstance(value, datetime) or (isinstance(value, int) and value >= _LEAST_MARKED_NUMBER)


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


# ---------------------------------------------- reads collections of a server for what lies in their fields


RIGHTS = "log in as a user that may list collections and read them (read)"
"""The hint where the server denies something."""
# a date that no datetime holds stays a number of milliseconds
_DECODED: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


@dataclass(frozen=True, slots=True)
class CollectionFields:
    """What lies in the fields of one collection."""

    namespace: str
    documents: int
    """Documents that were read."""
    fields: tuple[FieldReport, ...]
    problem: str = ""
    """Why it was not read to its end, or not all of its fields are here."""
    long_texts: int = 0
    """Texts of which only the beginning was searched."""
    indexes: Mapping[str, bool] = field(default_factory=dict)
    """Paths in indexes by equality or order, if they were asked for; True for one of a unique index."""


def databases_of(policies: PolicySet) -> list[str]:
    """The databases that a policy names, by name; those that it means by a pattern are not among them."""
    named = [*policies.collections, *(pattern for pattern, _ in policies.patterns)]
    return sorted({name for name, _, _ in (each.partition(".") for each in named) if "*" not in name})


def databases_on(client: Client) -> list[str]:
    """Every database but MongoDB's own, by name. Raises what the driver raises."""
    return sorted(set(client.list_database_names()) - SERVER_DATABASES)


def namespaces_in(client: Client, databases: Iterable[str]) -> list[str]:
    """Every collection of these databases that has documents of its own. Raises what the driver raises."""
    found = []
    for database in databases:
        for listed in client.get_database(database, RAW).list_collections():
            namespace = f"{database}.{listed['name']}"
            if listed.get("type", "collection") != "view" and not belongs_to_server(namespace):
                found.append(namespace)
    return sorted(found)


def indexes_of(client: Client, namespace: str) -> dict[str, bool]:
    """Paths that indexes find by equality or order; True if one of these is unique. Raises as the driver."""
    database, _, name = namespace.partition(".")
    found: dict[str, bool] = {}
    for index in client.get_database(database, RAW).get_collection(name).list_indexes():
        for path, direction in index["key"].items():
            if direction == "hashed" or not isinstance(direction, str):
                found[path] = found.get(path, False) or bool(index.get("unique"))
    return found


def read_fields(
    client: Client,
    namespace: str,
    policies: PolicySet,
    sample: int | None,
    progress: Callable[[int], None],
    *,
    use: bool = False,
) -> CollectionFields:
    """Read all documents, or a random `sample` of them; `progress` is told of each.

    With `use` also what shows how fields are used: indexes, and marks of values that others may share. What
    the server refuses, and a document that is none, becomes a part of the report. Raises LibraryMissing.
    """
    fields = FieldCounts(policies.covered(namespace), marks=use)
    problem, indexes = "", {}
    try:
        if use:
            indexes = indexes_of(client, namespace)
        for raw in documents_of(client, namespace, sample):
            fields.read(decode(raw, _DECODED))
            progress(1)
    except PyMongoError as error:
        problem = f"not read to its end: {failure(error)}"
    except (BSONError, RecursionError):
        problem = "not read to its end: a document is damaged"
    if fields.is_cut and not problem:
        problem = (
            "it has more paths, or values in a document, than are counted: its fields' names may be data"
        )
    return CollectionFields(
        namespace, fields.documents, tuple(fields.report()), problem, fields.long_texts, indexes
    )
