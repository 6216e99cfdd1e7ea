"""What is wrong with a dashboard by Grafana's own schema, as its Foundation SDK has it for Grafana 10.1.

The SDK's classes are generated from the schemas of Grafana and of its panels. Reading takes anything: a key
that no class has is lost on the way back, and a value is held against the type that its class declares.
"""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from grafana_foundation_sdk.cog import plugins, runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

BESIDE_THE_SCHEMA = "definition"
"""Grafana's editor shows it for a variable, and every export has it."""

plugins.register_default_plugins()
_TAKEN: dict[Any, Any] = {float: (int, float)}
_UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def flaws(dashboard: Mapping[str, Any]) -> list[str]:
    """Where a key, a value, a kind of panel or a unit is none of Grafana's; empty where all is right."""
    found = Dashboard.from_json(dict(dashboard))
    written = json.loads(json.dumps(found, cls=JSONEncoder))
    return [*_lost(dashboard, written, "$"), *_odd_fields(found, "$"), *_odd_panels(dashboard["panels"])]


def _lost(given: Any, kept: Any, place: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], f"{place}.{key}")
            elif key != BESIDE_THE_SCHEMA:
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{place}[{number}]")
    elif given != kept:
        yield place


def _odd_fields(value: object, place: str) -> Iterator[str]:
    for name, hint in get_type_hints(type(value)).items():
        yield from _odd(getattr(value, name), hint, f"{place}.{name}")


def _odd(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Where `value` is not of the type that the schema has for it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        # what a panel's kind decides: the value has that kind's class
        yield from _odd_fields(value, place) if hasattr(value, "to_json") else ()
    elif origin in (Union, UnionType):
        ways = [list(_odd(value, each, place)) for each in inner]
        yield from min(ways, key=len)
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield place
            return
        parts = value.items() if origin is dict else enumerate(value)
        for key, part in parts:
            yield from _odd(part, inner[-1], f"{place}[{key}]")
    elif origin is Literal or issubclass(hint, Enum):
        if value not in (inner or [each.value for each in hint]):
            yield place
    elif not isinstance(value, _TAKEN.get(hint, hint)) or isinstance(value, bool) is not (hint is bool):
        yield place
    else:
        yield from _odd_fields(value, place)


def _odd_panels(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        if panel["type"] == "row":
            continue
        if runtime.panelcfg_config(panel["type"]) is None:
            yield f"{panel['title']}: {panel['type']}"
        if panel["fieldConfig"]["defaults"].get("unit", "none") not in _UNITS:
            yield f"{panel['title']}: unit"
