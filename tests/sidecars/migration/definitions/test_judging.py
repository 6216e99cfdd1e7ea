"""The table of what indexes keep, and how an index is read for it."""

from typing import Any

import pytest

from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.sidecars.migration.definitions.constants import ClassChange
from sealwire.sidecars.migration.definitions.conversions import TABLE, Judgement, Trait, judge_index
from tests.sidecars.migration.definitions.samples import (
    DECRYPTING,
    ENCRYPTING,
    HIDING,
    NAME,
    NOTES,
    RESEALING,
    SHOWING,
    TURNING,
    index,
)

KEPT, USELESS, LOST, IN_THE_WAY = (
    Judgement.KEPT,
    Judgement.USELESS,
    Judgement.LOST,
    Judgement.IN_THE_WAY,
)


def judged(change: ClassChange, leaf: FieldClass = NAME, **options: Any) -> Judgement:
    found, _, _ = judge_index(index("i", **options).content, {"a.b": leaf}, change)
    return found


@pytest.mark.parametrize(
    ("options", "deterministic", "random"),
    [
        ({"key": {"a.b": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"x": 1, "a.b": -1}, "sparse": True}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.b": 1}, "unique": True}, (KEPT, KEPT, KEPT), (LOST, KEPT, LOST)),
        ({"key": {"a.b": 1}, "expireAfterSeconds": 9}, (LOST, KEPT, LOST), (LOST, KEPT, LOST)),
        ({"key": {"_fts": "text"}, "weights": {"a.b": 1}}, (LOST, KEPT, KEPT), (LOST, KEPT, KEPT)),
        ({"key": {"_fts": "text"}, "weights": {"$**": 1}}, (LOST, KEPT, KEPT), (LOST, KEPT, KEPT)),
        ({"key": {"a.b": "2dsphere"}}, (IN_THE_WAY, IN_THE_WAY, KEPT), (IN_THE_WAY, IN_THE_WAY, KEPT)),
        ({"key": {"a.b": "hashed"}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"$**": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.$**": 1}}, (KEPT, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"a.b": 1}, "collation": {"locale": "en"}}, (LOST, KEPT, KEPT), (USELESS, KEPT, KEPT)),
        ({"key": {"x": 1}, "unique": True, "expireAfterSeconds": 9}, (KEPT,) * 3, (KEPT,) * 3),
    ],
    ids=str,
)
def test_every_kind_of_index(
    options: dict[str, Any], deterministic: tuple[Judgement, ...], random: tuple[Judgement, ...]
) -> None:
    for change, expected in zip((ENCRYPTING, TURNING, DECRYPTING), deterministic, strict=True):
        assert judged(change, **options) is expected
    for change, expected in zip((HIDING, RESEALING, SHOWING), random, strict=True):
        assert judged(change, NOTES, **options) is expected


def test_a_collation_means_nothing_to_numbers() -> None:
    number = FieldClass("n", Mode.DETERMINISTIC, ValueType.LONG)
    assert judged(ENCRYPTING, number, key={"a.b": 1}, collation={"locale": "en"}) is KEPT


@pytest.mark.parametrize(
    ("per", "key", "expected"),
    [
        (b"tenant", {"a.b": 1}, LOST),
        (b"tenant", {"tenant": 1, "a.b": 1}, KEPT),
        (b"./tenant", {"tenant": 1, "a.b": 1}, LOST),
        (b"./tenant", {"a.b": 1, "a.tenant": 1}, KEPT),
        (b"$database", {"a.b": 1}, KEPT),
    ],
)
def test_a_unique_index_is_about_contexts_too(per: bytes, key: dict[str, int], expected: Judgement) -> None:
    """Else it would take what it refused: equal values of two contexts."""
    keyed = FieldClass("n", Mode.DETERMINISTIC, ValueType.STRING, per=per)
    assert judged(ENCRYPTING, keyed, key=key, unique=True) is expected
    assert judged(TURNING, keyed, key=key, unique=True) is KEPT


def test_the_paths_and_each_reason_are_named_once() -> None:
    content = index("i", key={"a.b": 1, "a.c": 1, "x": 1}, unique=True).content
    judgement, paths, why = judge_index(content, {"a.b": NOTES, "a.c": NOTES, "z": NOTES}, HIDING)
    assert (judgement, paths) == (LOST, ("a.b", "a.c"))
    assert why == (TABLE[Trait.PLAIN].why, TABLE[Trait.UNIQUE].why)


def test_every_trait_has_a_row() -> None:
    assert set(TABLE) == set(Trait)
