"""What becomes of a definition when values move: the one table, and how indexes are read for it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, Final

from sealwire.policies.file.schema import PER_DATABASE, FieldClass, Mode, ValueType, context_field, whole_path
from sealwire.sidecars.migration.definitions.constants import ClassChange
from sealwire.sidecars.migration.definitions.filters import touches

WIDE_PREFIX: Final = "sealwire_wide_"
"""Begins the name of an index that stands for another one while values move."""
_OURS: Final = ("sealwire_move_", WIDE_PREFIX)


class Judgement(IntEnum):
    """What a definition is after the move; of several the highest counts."""

    KEPT = 0
    """It means what it meant."""
    USELESS = 1
    """It finds nothing any more, and does no harm."""
    CONVERTED = 2
    LOST = 3
    """It loses its meaning, or a part of it: nothing moves until somebody accepts that."""
    IN_THE_WAY = 4
    """The server would refuse the values: it has to be dropped first."""


class Trait(Enum):
    """What an index can be, or have; one can have several."""

    PLAIN = "plain, compound or sparse"
    UNIQUE = "unique"
    UNIQUE_BEYOND = "unique, without the field of the contexts"
    EXPIRING = "TTL"
    TEXT = "text"
    GEO = "geo"
    HASHED = "hashed"
    WILDCARD = "wildcard"
    COLLATED = "with a collation"


_Moves = tuple[Judgement, Judgement, Judgement]
"""By the direction: plaintext to envelopes, envelopes to envelopes, envelopes to plaintext."""
_K, _U, _L, _W = Judgement.KEPT, Judgement.USELESS, Judgement.LOST, Judgement.IN_THE_WAY


@dataclass(frozen=True, slots=True)
class TraitRow:
    """What becomes of indexes with a trait."""

    deterministic: _Moves
    random: _Moves
    why: str


TABLE: Final[Mapping[Trait, TraitRow]] = {
    Trait.PLAIN: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.UNIQUE: TraitRow(
        (_K, _K, _K), (_L, _K, _L), "is unique, and envelopes of a random class never equal each other"
    ),
    Trait.UNIQUE_BEYOND: TraitRow(
        (_L, _K, _L),
        (_L, _K, _L),
        "is unique beyond contexts, and equal values of two of them are one in clear and two once encrypted",
    ),
    Trait.EXPIRING: TraitRow(
        (_L, _K, _L), (_L, _K, _L), "lets documents expire by a date, which goes on in clear only"
    ),
    Trait.TEXT: TraitRow((_L, _K, _K), (_L, _K, _K), "is a text index, and words are hidden"),
    Trait.GEO: TraitRow((_W, _W, _K), (_W, _W, _K), "is a geo index, which takes no envelopes"),
    Trait.HASHED: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.WILDCARD: TraitRow((_K, _K, _K), (_U, _K, _K), "finds no encrypted value"),
    Trait.COLLATED: TraitRow(
        (_L, _K, _K), (_U, _K, _K), "has a collation, and envelopes are equal by their bytes only"
    ),
}
"""Partial filters, validators and views have no row: `filters`, `schemas` and `views` follow their parts."""


def is_ours(index: Mapping[str, Any]) -> bool:
    """Whether an index was made by a job."""
    return str(index["name"]).startswith(_OURS)


def judge_index(
    index: Mapping[str, Any], paths: Mapping[str, FieldClass], change: ClassChange
) -> tuple[Judgement, tuple[str, ...], tuple[str, ...]]:
    """How an index stands to the paths that move, whose classes are given; which, and why.

    Its partial filter is not looked at. KEPT also where it has none of the paths.
    """
    direction = 0 if change.was_clear else 2 if change.is_clear else 1
    worst = _K
    why: dict[str, None] = {}
    met: dict[str, None] = {}
    for field, kind in _fields(index):
        for path, leaf in paths.items():
            if field and not touches(field, path):
                continue
            met[path] = None
            for trait in _traits(index, field, kind, path, leaf):
                row = TABLE[trait]
                judged = (row.random if leaf.mode is Mode.RANDOM else row.deterministic)[direction]
                if judged is not _K:
                    why[row.why] = None
                worst = max(worst, judged)
    return worst, tuple(met), tuple(why)


def _fields(index: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Field and kind; "" stands for all fields, as wildcard indexes have it."""
    for field, kind in index["key"].items():
        if field == "_fts":
            # a text index hides its fields in the weights
            yield from ((name.removesuffix("$**"), "text") for name in index.get("weights") or {})
        elif field != "_ftsx":
            yield field.removesuffix("$**").removesuffix("."), "*" if "$**" in field else kind


def _traits(index: Mapping[str, Any], field: str, kind: Any, path: str, leaf: FieldClass) -> Iterable[Trait]:
    yield _KINDS.get(kind, Trait.GEO) if isinstance(kind, str) else Trait.PLAIN
    if index.get("unique"):
        yield Trait.UNIQUE if _has_context(index, path, leaf) else Trait.UNIQUE_BEYOND
    if "expireAfterSeconds" in index and field:
        yield Trait.EXPIRING
    is_text = leaf.value_type in (None, ValueType.STRING)
    if index.get("collation") and is_text:
        yield Trait.COLLATED


def _has_context(index: Mapping[str, Any], path: str, leaf: FieldClass) -> bool:
    """Whether what it holds apart, contexts hold apart too; all of a collection are in one database."""
    if leaf.per is None or leaf.per == PER_DATABASE:
        return True
    return whole_path(context_field(leaf.per, path)).decode() in index["key"]


_KINDS: Final = {"text": Trait.TEXT, "hashed": Trait.HASHED, "*": Trait.WILDCARD}
