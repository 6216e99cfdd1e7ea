"""Documents with one value replaced by one of another type: what code that trusts a type would trip over."""

from collections.abc import Iterator
from typing import Any

from bson import MinKey

# By their bytes: none, 1, 4, 5, 6 and more. A string has at least 5.
OTHERS: tuple[Any, ...] = (None, MinKey(), True, 5, {}, [], "", "$", "$$", 1.5)


def retyped(value: Any) -> Iterator[Any]:
    """`value` with one value in it, or itself, replaced by each of `OTHERS`."""
    yield from OTHERS
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: other} for other in retyped(inner))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from ([*value[:index], other, *value[index + 1 :]] for other in retyped(inner))


def retyped_within(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """As `retyped`, the document itself staying one with something in it."""
    return (other for other in retyped(document) if isinstance(other, dict) and other)
