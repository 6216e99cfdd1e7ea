"""Policies drawn from a seed: which fields of three collections are covered, and by which class.

Every shape has a database of its own, so that one proxy serves several. The fields and what they hold are the
same in all; only the coverage differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any

import yaml

from tests.integration.outside.chosen import named

PEOPLE, VISITS, KEPT = "people", "visits", "kept"
"""The collection that commands work on, one to join with it, and one that pipelines may write to."""

COLLECTIONS = (PEOPLE, VISITS, KEPT)

CLASSES: Mapping[str, Mapping[str, Any]] = {
    "code": {"mode": "deterministic", "type": "string"},
    "name": {"mode": "deterministic", "type": "string"},
    "count": {"mode": "deterministic", "type": "int"},
    "grade": {"mode": "deterministic", "type": "int", "range": {"from": -5, "to": 20}},
    "total": {"mode": "deterministic", "type": "long"},
    "age": {"mode": "deterministic", "type": "long", "range": {"from": 0, "to": 150, "max_values": 140}},
    "weight": {"mode": "deterministic", "type": "double"},
    "moment": {"mode": "deterministic", "type": "date"},
    "day": {
        **{"mode": "deterministic", "type": "date"},
        "range": {"unit": "day", "from": date(1940, 1, 1), "to": date(1979, 12, 31)},
    },
    "month": {
        **{"mode": "deterministic", "type": "date"},
        "range": {"unit": "month", "from": date(1900, 1, 1), "to": date(2100, 12, 1)},
    },
    "year": {
        **{"mode": "deterministic", "type": "date"},
        "range": {"unit": "year", "from": date(1900, 1, 1), "to": date(2100, 1, 1)},
    },
    "ref": {"mode": "deterministic", "type": "objectId"},
    "flag": {"mode": "deterministic", "type": "bool"},
    "blob": {"mode": "deterministic", "type": "binData"},
    "secret": {"mode": "random"},
}

_TYPES_OF_RANDOM: Mapping[str, str] = {
    **dict.fromkeys(("s", "r", "list"), "string"),
    **dict.fromkeys(("n", "nums"), "int"),
    **{"d": "double", "b": "bool", "x": "binData"},
}
"""By a field's name the type of most values that a random class has there."""

_CLEAR = ""
_WORDS = ("code", "code", "code", "name", "secret", _CLEAR)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "s": _WORDS,
    "s2": ("code", "code", "name", _CLEAR),
    "n": ("count", "grade", "age", "total", "weight", "secret", _CLEAR),
    "l": ("total", "total", _CLEAR),
    "d": ("weight", "weight", "secret", _CLEAR),
    "t": ("moment", "day", "month", "year", _CLEAR),
    "o": ("ref", "ref", _CLEAR),
    "b": ("flag", "secret", _CLEAR),
    "x": ("blob", "blob", "secret", _CLEAR),
    "r": ("secret", "secret", _CLEAR),
    "list": ("code", "code", "name", "secret", _CLEAR),
    "nums": ("count", "weight", _CLEAR),
    "sub": (_CLEAR,) * 6 + ("secret",),
    "sub.s": _WORDS,
    "sub.n": ("count", "grade", _CLEAR),
    "sub.r": ("secret", _CLEAR),
    "items": (_CLEAR,) * 6 + ("secret",),
    "items.s": _WORDS,
    "items.n": ("count", "weight", _CLEAR),
    "items.sub.s": _WORDS,
    "items.list": ("code", _CLEAR),
}
"""For each path of `people` the classes it may have, repeated by weight. `w` and `q` are always in clear."""

MAY_HAVE_CONTEXTS = tuple(name for name, said in CLASSES.items() if "range" not in said)
"""The classes that can have a key for each database, in whose sequences all commands fix it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one database covers: pairs of path and class for each collection."""

    number: int
    people: tuple[tuple[str, str], ...]
    visits: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]
    asks: bool = False
    """Whether deterministic classes are asked about, and filters have what needs it (docs/asking.md)."""

    @property
    def database(self) -> str:
        """Where its collections lie."""
        return named(f"shape{self.number}_a")

    def class_of(self, path: str) -> str:
        """The class of a path in `people`; empty when it is in clear."""
        return dict(self.people).get(path, _CLEAR)

    def asked_type(self, path: str) -> str:
        """The type of a path whose values are asked for, or of most of them; empty for any other path."""
        said = CLASSES.get(self.class_of(path), {})
        if said.get("mode") == "random":
            said = {"type": _TYPES_OF_RANDOM.get(path.rpartition(".")[2], "")}
        return str(said.get("type", "")) if self.asks else ""

    @property
    def ordered(self) -> tuple[str, ...]:
        """The paths by which commands sort that are asked about."""
        types = ((path, self.asked_type(path)) for path, _ in self.people)
        return tuple(path for path, kind in types if kind not in ("", "binData"))  # see defects

    def is_random(self, path: str) -> bool:
        """Whether values at `path` in `people` cannot be compared."""
        parts = path.split(".")
        above = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return any(CLASSES.get(self.class_of(part), {}).get("mode") == "random" for part in above)

    def reaches(self, *paths: str) -> bool:
        """Whether none of these paths leads into a value that is encrypted as a whole."""
        return not any("." in path and self.is_random(path.rpartition(".")[0]) for path in paths)

    def compares(self, *paths: str) -> bool:
        """Whether values at all of these paths can be compared."""
        return not any(map(self.is_random, paths))

    def __repr__(self) -> str:
        covered = ", ".join(f"{path}: {name}" for path, name in self.people)
        return f"<shape {self.number}: {covered}>"


def draw_shapes(seed: int, count: int, *, asks: bool = False) -> tuple[Shape, ...]:
    """`count` shapes, at most ten; the same for the same seed."""
    random = Random(seed)
    return tuple(_draw(random, number, asks=asks) for number in range(count))


def _draw(random: Random, number: int, *, asks: bool) -> Shape:
    people: dict[str, str] = {}
    for path, choices in _CHOICES.items():
        chosen = random.choice(choices)
        if chosen != _CLEAR and path.partition(".")[0] not in people:
            people[path] = chosen
    people.setdefault("s", "code")
    visits = {"person": people["s"] if random.random() < 0.7 else "name"}
    if random.random() < 0.5:
        visits["notes"] = "secret"
    kept = people if random.random() < 0.6 else {"s": "code"}
    rules = [tuple(each.items()) for each in (people, visits, kept)]
    return Shape(number, rules[0], rules[1], rules[2], asks)


def policy_yaml(shapes: tuple[Shape, ...], keyed: frozenset[str] = frozenset()) -> str:
    """The policy file for all of them; every second database is named by a pattern.

    Where one asks, every class does. Where classes are `keyed`, each database has keys of its own for them,
    and every shape may have many databases.
    """
    collections = {}
    for shape in shapes:
        database = named(f"shape{shape.number}_*") if keyed or shape.number % 2 else shape.database
        for name, rules in zip(COLLECTIONS, (shape.people, shape.visits, shape.kept), strict=True):
            collections[f"{database}.{name}"] = dict(rules)
    asks = any(shape.asks for shape in shapes)
    classes = {name: {**said, "ask": True} if asks else dict(said) for name, said in CLASSES.items()}
    for name in keyed:
        classes[name] = {**classes[name], "key": {"per": "$database"}}
    whole = {"version": 1, "classes": classes}
    return yaml.safe_dump(whole | {"collections": collections}, sort_keys=False)
