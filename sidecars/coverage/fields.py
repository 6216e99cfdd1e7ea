"""Counts what the values of each path look like, and judges the path by all of them and by the policy."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

import yaml
from bson import Int64, decode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import SERVER_DATABASES, FieldClass, PathNode, PolicySet, belongs_to_server
from sealwire.policies.planning.arguments import one_line
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, MAX_TEXT, Personal, held_in, looks_of
from sealwire.sidecars.direct import RAW, Client, collection_of, documents_of, failure, is_envelope_value

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
class _FieldTally:
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
        self._tallies: dict[str, _FieldTally] = {}
        self.documents = 0
        self.is_cut = False
        """Whether there are more paths, or values of one document, than are counted."""
        self.long_texts = 0
        """Texts that were searched only in their first MAX_SEARCHED characters."""

    def read(self, document: Mapping[str, Any]) -> None:
        """Count the values of one document. Raises Unavailable.

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
                tally = self._tallies[path] = _FieldTally()
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


def _judged(path: str, tally: _FieldTally) -> FieldReport:
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
    found: dict[str, bool] = {}
    for index in collection_of(client, namespace).list_indexes():
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
    the server refuses, and a document that is none, becomes a part of the report. Raises Unavailable.
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


# The lines that a policy lacks: a class for each kind of field, the paths that it covers, and why.
#
# They are a beginning. Owners of the fields know which of them are searched for by equality, and so need a
# deterministic class. What is suggested is what each kind is usually searched by, and what the server shows:
# indexes, and values that two paths share, by which they are joined.

_CLASSES: Final[Mapping[Personal, tuple[str, bool]]] = {
    Personal.EMAIL: ("email", True),
    Personal.NHS_NUMBER: ("nhs_number", True),
    Personal.NATIONAL_INSURANCE: ("national_insurance", True),
    Personal.NATIONAL_NUMBER: ("national_number", True),
    Personal.IBAN: ("iban", True),
    Personal.CARD: ("card", False),
    Personal.PHONE: ("phone", True),
    Personal.POSTCODE: ("postcode", False),
    Personal.IP_ADDRESS: ("ip_address", False),
    Personal.BIRTH_DATE: ("birth_date", False),
    Personal.SPECIAL: ("special_category", False),
    Personal.HEALTH: ("health", False),
    Personal.PERSON_NUMBER: ("person_number", True),
    Personal.NAME: ("person_name", False),
    Personal.ADDRESS: ("address", False),
    Personal.TRAIT: ("trait", False),
}
"""The name of a class, and whether such a field is usually searched by equality: identifiers are."""
_FEW_VALUES: Final = frozenset({Personal.SPECIAL, Personal.HEALTH, Personal.TRAIT})
"""How often each value occurs shows which it is, so an index alone makes them no deterministic class."""
_LEAST_SHARED: Final = 2
_LEAST_SHARED_PART: Final[Mapping[str, float]] = {"string": 0.005, "int": 0.2, "long": 0.2}
"""So many values of a path, and such a part of them, have to occur at the other: random samples share few.

Two counters share numbers by chance. Fields of other types are not joined.
"""
_REPEATED: Final = 4
"""An indexed field whose values occur so often, on average, is an index over few values."""
_MAX_PATH_DEPTH: Final = 32
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_HEAD: Final = """\
# A first policy, suggested from {documents} documents of {collections} collections. Check each line.
# A field that looked like nothing known is not listed; `sealwire policy coverage --all` lists it.
# Next: `sealwire policy lint`, `sealwire policy explain`. docs/policies.md explains classes and modes.
version: 1
"""


@dataclass(slots=True, eq=False)
class _Line:
    """A path that is to be covered, and why."""

    found: CollectionFields
    report: FieldReport
    class_name: str
    value_type: str
    """The type of a deterministic class; empty for a random one."""
    why: str
    """Why the class has this mode."""
    notes: list[str] = field(default_factory=list)

    @property
    def settings(self) -> str:
        return f"{{mode: deterministic, type: {self.value_type}}}" if self.value_type else "{mode: random}"


def first_policy(found: Sequence[CollectionFields]) -> str:
    """A policy of what looks personal, with comments, which `load_policy` takes; empty if nothing does."""
    lines = suggested(found)
    if "\nclasses:\n" not in f"\n{lines}":
        return ""
    return _HEAD.format(documents=sum(each.documents for each in found), collections=len(found)) + lines


def suggested(found: Sequence[CollectionFields]) -> str:
    """YAML of `classes` and `collections`, to be merged into a policy; empty if nothing is missing.

    Comments say why each line is there. A path that no policy can name is a comment, such as `_id` and one
    with a number or a dollar sign for a name. Cost: O(paths * depth + marks).
    """
    left: list[str] = []
    lines = _personal_lines(found, left)
    lines += _join(found, lines)
    if not lines:
        return "".join(left)
    classes = {line.class_name: line for line in reversed(lines)}
    written = [*left, "classes:\n"]
    for name, line in sorted(classes.items()):
        written += [f"  # {line.why}\n", f"  {_name(name)}: {line.settings}\n"]
    written.append("collections:\n")
    for each in found:
        here = sorted((line.report.path, line) for line in lines if line.found is each)
        written += [f"  {_name(each.namespace)}:\n"] * bool(here)
        for path, line in here:
            written += [f"    # {'; '.join(line.notes)}\n", f"    {_name(path)}: {_name(line.class_name)}\n"]
    return "".join(written)


def _personal_lines(found: Iterable[CollectionFields], left: list[str]) -> list[_Line]:
    """A line for each path that looks personal; `left` is given comments for those that cannot be covered."""
    lines: list[_Line] = []
    for each in found:
        paths = [one.path for one in each.fields]
        chosen: list[str] = []
        for one in each.fields:
            if one.cover is not Cover.PERSONAL or one.kind is None:
                continue
            if not _can_be_covered(each.namespace, one.path):
                where = one_line(each.namespace)
                left.append(f"# {where} {one.path!r} looks personal, and no policy can cover it\n")
            elif not any(_contains(outer, one.path) for outer in chosen):
                chosen.append(one.path)
                has_below = any(_contains(one.path, path) for path in paths)
                lines.append(_line(each, one, one.kind, lines, has_below=has_below))
    return lines


def _line(
    found: CollectionFields, one: FieldReport, kind: Personal, lines: Iterable[_Line], *, has_below: bool
) -> _Line:
    looks = f"{kind.value}{' in text' if one.in_text else ''} ({one.share:.0%} of {one.values} values)"
    name, is_identifier = _CLASSES[kind]
    is_indexed, is_unique = one.path in found.indexes, found.indexes.get(one.path, False)
    notes = [looks, *["unique index" if is_unique else "index"] * is_indexed]
    rarely = "usually read, not searched by: random. Filters by equality and indexes are refused"
    if one.in_text:
        return _Line(found, one, "free_text", "", "texts that contain personal data: random", notes)
    if has_below or not one.value_type:
        notes.append("values of a kind that no deterministic class has")
        return _Line(found, one, f"{name}_mixed" if is_identifier else name, "", rarely, notes)
    is_repeated = len(one.marks) * _REPEATED <= one.values or kind in _FEW_VALUES
    if not is_identifier and not is_unique and (is_repeated or not is_indexed):
        if is_indexed:
            notes.append("its index is of no use any more: equality would show which values are frequent")
        return _Line(found, one, name, "", rarely, notes)
    why = "identifiers, usually searched by equality: deterministic. Equal values have equal ciphertext"
    if not is_identifier:
        name, why = f"{name}_indexed", "indexed, so probably searched by equality: deterministic"
        if one.value_type != "string":
            notes.append("comparing with $gt or $lt needs a `range` in its class")
    elif kind is Personal.PERSON_NUMBER:
        name = _number_name(one.path, lines)
    if one.other_types:
        notes.append(f"{one.other_types} values have another type, and would be refused")
    # one class has one type: fields of another are other fields
    name = name if one.value_type == "string" else f"{name}_{one.value_type}"
    return _Line(found, one, name, one.value_type, why, notes)


def _number_name(path: str, lines: Iterable[_Line]) -> str:
    """The class of a number that is known by its field's name: another name is another kind of number."""
    *above, last = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", path).lower().split(".")
    words = re.sub(r"[^a-z0-9]+", "_", last).strip("_")
    if words in {"", "no", "nr", "num", "number", "id", "value", "code"}:
        words = re.sub(r"[^a-z0-9]+", "_", "_".join([*above[-1:], last])).strip("_")
    if not words[:1].isalpha():
        return "person_number"
    others = [line.class_name for line in lines if line.report.kind is Personal.PERSON_NUMBER]
    same = (each for each in others if f"_{words}".endswith(f"_{each}") or f"_{each}".endswith(f"_{words}"))
    return next(same, words[:40])


def _join(found: Iterable[CollectionFields], lines: Sequence[_Line]) -> list[_Line]:
    """Give paths that share values with one of a deterministic class that class; the lines that this adds."""
    home: dict[int, _Line] = {}
    for line in lines:
        if not line.value_type:
            continue
        _take_class(line, _shared_with(line.report, home))
        for mark in line.report.marks:
            home.setdefault(mark, line)
    added: list[_Line] = []
    for each in found:
        chosen = [line.report.path for line in lines if line.found is each]
        for one in each.fields:
            shared = _shared_with(one, home) if one.cover is Cover.OTHER else None
            if shared is None or not _can_be_covered(each.namespace, one.path):
                continue
            if not any(_contains(one.path, other) or _contains(other, one.path) for other in chosen):
                line = _Line(each, one, "", shared[0].value_type, shared[0].why, ["looks like nothing known"])
                _take_class(line, shared)
                added.append(line)
                chosen.append(one.path)
    return added


def _contains(outer: str, path: str) -> bool:
    return path.startswith(f"{outer}.")


def _shared_with(one: FieldReport, home: Mapping[int, _Line]) -> tuple[_Line, int] | None:
    """The line with which a path shares most values, and how many."""
    hits = Counter(home[mark] for mark in one.marks if mark in home)
    for line, count in hits.most_common(1):
        part = _LEAST_SHARED_PART.get(line.value_type, 2)
        if count >= max(_LEAST_SHARED, part * min(len(one.marks), len(line.report.marks))):
            return line, count
    return None


def _take_class(line: _Line, shared: tuple[_Line, int] | None) -> None:
    if shared is None:
        return
    other, count = shared
    if line.value_type == other.value_type:
        line.class_name = other.class_name
        where = one_line(f"{other.found.namespace} {other.report.path}")
        line.notes.append(f"shares {count} values with {where}: one class, so they can be joined")


def _can_be_covered(namespace: str, path: str) -> bool:
    parts = path.split(".")
    return (
        parts[0] != "_id"
        and len(parts) <= _MAX_PATH_DEPTH
        and not any(not part or part.startswith("$") or part.isdigit() for part in parts)
        and not any(wild in namespace for wild in "*?[")
    )


def _name(text: str) -> str:
    """A name as YAML, on one line, quoted if it would be read as something else."""
    if _PLAIN_NAME.fullmatch(text) and yaml.safe_load(text) == text:
        return text
    return str(yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9)).strip()
