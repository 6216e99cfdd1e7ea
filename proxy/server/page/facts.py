"""What the policy and the keyring of a process say, as far as people should see it: names, states and days.

With workers the supervisor has neither, so a worker sends it this. No key, value, context or
position is in it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PER_DATABASE, FieldClass, PolicySet

MAX_ROWS: Final = 2000
"""Rows of each kind that are shown; a policy may have more."""


OBSERVED: Final = "in clear: only observed"
"""In place of a mode."""


@dataclass(frozen=True, slots=True)
class CoveredField:
    """One path of a collection, or of a pattern of collections, and its class."""

    namespace: str
    path: str
    class_name: str
    mode: str
    value_type: str
    """Empty in random mode."""
    extras: str
    """What else the policy says of the class: ranges, keys for contexts, that it identifies; or nothing."""


@dataclass(frozen=True, slots=True)
class ShownKey:
    """One version of the key of a class."""

    class_name: str
    version: int
    state: str
    made: str
    """A day and a time in UTC, as ISO 8601 writes them."""
    destroy_after: str
    """The same, or empty."""
    is_plaintext: bool
    is_borrowed: bool


class HowFar(Enum):
    """Where the move of a class is; the value is what people read."""

    WAITS = "waits"
    OPEN = "window open"
    MOVES = "window moves"
    BETWEEN = "between windows"
    OVER = "over"
    LOST = "lost"
    """It is not known."""


@dataclass(frozen=True, slots=True)
class MoveStage:
    """How far a class has moved, as one process knows it."""

    class_name: str
    old_version: int
    new_version: int
    generation: int
    stage: str
    """The value of a `HowFar`."""


@dataclass(frozen=True, slots=True)
class PageFacts:
    """All of it; at most MAX_ROWS of each kind."""

    covered: tuple[CoveredField, ...] = ()
    keys: tuple[ShownKey, ...] = ()
    moves: tuple[MoveStage, ...] = ()
    covered_count: int = 0
    """How many paths the policy covers."""


def facts_of(policy: PolicySet, keyring: Keyring, moving: Mapping[str, Frontier | None]) -> PageFacts:
    """What is to be seen of these; `moving`: by class, None for one that is lost. Cost: O(paths + keys)."""
    covered = list(_covered(policy))
    keys = [
        ShownKey(
            key.class_name,
            key.version,
            key.state.value,
            key.created.isoformat(),
            "" if key.destroy_after is None else key.destroy_after.isoformat(),
            key.is_plaintext,
            key.lender is not None,
        )
        for key in keyring.listed
    ]
    moves = [_stage(name, frontier) for name, frontier in sorted(moving.items())]
    return PageFacts(tuple(covered[:MAX_ROWS]), tuple(keys[:MAX_ROWS]), tuple(moves[:MAX_ROWS]), len(covered))


def age_days(moment: str, now: datetime) -> int:
    """Whole days since a moment of a `ShownKey`; 0 for one that is to come. Raises ValueError."""
    return max((now - datetime.fromisoformat(moment)).days, 0)


def _covered(policy: PolicySet) -> Iterator[CoveredField]:
    subject = None if policy.subjects is None else policy.subjects.class_name
    written = policy.written or policy
    for namespace, path, each in written.fields:
        value_type = "" if each.value_type is None else each.value_type.value
        extras = ", ".join(_extras(each, subject))
        mode = OBSERVED if namespace in written.observed else each.mode.value
        yield CoveredField(namespace, path, each.name, mode, value_type, extras)


def _extras(each: FieldClass, subject: str | None) -> Iterator[str]:
    if each.name == subject:
        yield "identifies a person"
    if each.domain is not None:
        yield "ranges"
    if each.per is not None:
        where = "database" if each.per == PER_DATABASE else each.per.decode("utf-8", "replace")
        yield f"a key for each {where}"


def _stage(name: str, frontier: Frontier | None) -> MoveStage:
    if frontier is None:
        return MoveStage(name, 0, 0, 0, HowFar.LOST.value)
    stage = _how_far(frontier).value
    return MoveStage(name, frontier.old_version, frontier.new_version, frontier.generation, stage)


def _how_far(frontier: Frontier) -> HowFar:
    if frontier.is_over:
        return HowFar.OVER
    if frontier.is_moving:
        return HowFar.MOVES
    if not frontier.window.is_empty:
        return HowFar.OPEN
    return HowFar.BETWEEN if frontier.has_begun else HowFar.WAITS
