"""One thing that a server should have: how it is read, made, changed, taken away, and what is left to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

# What the server's JSON holds; bool is an int.
Value = str | int | list[str] | dict[str, str] | None
Fields = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class AtMost:
    """Wanted of a number: from 1 to `limit`. 0 is "never" or "without end" to servers."""

    limit: int

    def __str__(self) -> str:
        return f"1 to {self.limit}"


class Kind(Enum):
    """What a resource is, for people; the order is the order of making."""

    MOUNT = "mount"
    KEY = "key"
    POLICY = "policy"
    AUTH = "auth"
    AUTH_CONFIG = "auth configuration"
    ROLE = "role"
    AUDIT = "audit device"


@dataclass(frozen=True, slots=True)
class Request:
    """One write: the path of the API below /v1/ and the body."""

    path: str
    body: Fields


@dataclass(frozen=True, slots=True)
class Resource:
    """What is wanted, and the requests that lead there. Holds no secret."""

    kind: Kind
    name: str
    path: str
    """Reading it gives the fields; deleting it takes the resource away."""
    wanted: Mapping[str, Value | AtMost]
    """Fields that must be so; others are the operator's own."""
    create: Request
    change: Request | None
    """What makes fields differ no more; None where a difference is an operator's to decide."""
    listing: str | None = None
    """The list that has the resource under `entry`, for a `path` that cannot be read by itself."""
    entry: str = ""
    fixed: frozenset[str] = frozenset()
    """Fields that stay as they were made."""
    holds: str | None = None
    """The list of a mount's content, so that only an empty mount is taken away."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as wanted."""

    field: str
    wanted: Value | AtMost
    found: Value


def differences(wanted: Mapping[str, Value | AtMost], found: Fields) -> tuple[Difference, ...]:
    """Fields of `wanted` that `found` has otherwise, in the order of `wanted`."""
    return tuple(
        Difference(name, value, found.get(name))
        for name, value in wanted.items()
        if not _agrees(value, found.get(name))
    )


def _agrees(wanted: Value | AtMost, found: Value) -> bool:
    if isinstance(wanted, AtMost):
        return isinstance(found, int) and 1 <= found <= wanted.limit
    return _normal(wanted) == _normal(found)


def _normal(value: Value) -> object:
    """Servers keep lists as sets, and say null for an empty one."""
    if isinstance(value, list):
        return frozenset(value)
    return frozenset() if value is None else value


class State(Enum):
    """How a resource stands to what is wanted."""

    SATISFIED = "satisfied"
    TO_DO = "to do"
    DIFFERS = "differs"
    BY_HAND = "by hand"
    """Differs in a way that no set-up may mend by itself; `advice` says what an operator can do."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the plan. `request` is what brings it about, where a set-up may."""

    kind: Kind
    name: str
    state: State
    differences: tuple[Difference, ...] = ()
    request: Request | None = None
    advice: str = ""


def compare(resource: Resource, found: Mapping[str, Any] | None) -> Step:
    """The step for `resource`, of which the server says `found`."""
    if found is None:
        return Step(resource.kind, resource.name, State.TO_DO, request=resource.create)
    different = differences(resource.wanted, found)
    if not different:
        return Step(resource.kind, resource.name, State.SATISFIED)
    if resource.change is None or any(each.field in resource.fixed for each in different):
        advice = f"choose another name for the {resource.kind.value}, or move what is there away"
        return Step(resource.kind, resource.name, State.BY_HAND, different, advice=advice)
    return Step(resource.kind, resource.name, State.DIFFERS, different, resource.change)
