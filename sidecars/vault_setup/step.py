"""What is to be done about one resource. Deciding it needs no server."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sealwire.sidecars.vault_setup.resource import Difference, Kind, Request, Resource, differences


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
