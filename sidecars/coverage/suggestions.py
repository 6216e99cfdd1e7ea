"""The lines that a policy lacks: a class for each kind of field, the paths that it covers, and why.

They are a beginning. Owners of the fields know which of them are searched for by equality, and so need a
deterministic class. What is suggested is what each kind is usually searched by, and what the server shows:
indexes, and values that two paths share, by which they are joined.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import yaml

from sealwire.policies.errors import one_line
from sealwire.sidecars.coverage.fields import CollectionFields, Cover, FieldReport
from sealwire.sidecars.coverage.likely import Personal

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


@dataclass(slots=True)
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
    hits: Counter[int] = Counter()
    by_id: dict[int, _Line] = {}
    for mark in one.marks:
        line = home.get(mark)
        if line is not None:
            hits[id(line)] += 1
            by_id[id(line)] = line
    for best, count in hits.most_common(1):
        line = by_id[best]
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
