"""A policy with classes that declare ranges, and how tests ask it."""

from datetime import datetime
from typing import Any

import pytest
from bson import decode, encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import Plan, RangeEdit
from tests.support.policies import policy_of

POLICY = policy_of("""
version: 1
classes:
  birth: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2099-12-31}}
  month: {mode: deterministic, type: date, range: {unit: month, from: 2000-01-01, to: 2001-12-01}}
  year: {mode: deterministic, type: date, range: {unit: year, from: 1990-01-01, to: 2010-01-01}}
  age: {mode: deterministic, type: int, range: {from: 0, to: 120, max_values: 50}}
  big: {mode: deterministic, type: long, range: {from: -5, to: 5}}
  plain: {mode: deterministic, type: date}
collections:
  db.c: {b: birth, m: month, y: year, a: age, l: big, p: plain, s.b: birth}
""")


def plan(command: dict[str, Any]) -> Plan:
    return plan_command(POLICY, encode({**command, "$db": "db"}), 0)


def listed(field: str, condition: dict[str, Any]) -> list[Any]:
    """The values that a range on `field` becomes."""
    (edit,) = plan({"find": "c", "filter": {field: condition}}).edits
    assert isinstance(edit, RangeEdit)
    assert edit.field_class.domain is not None
    assert edit.field_class.value_type is not None
    kind = edit.field_class.kind
    raw = [value for _, value in edit.values()]
    head = bytes((kind,)) + b"v\0"
    bodies = [(len(head) + len(value) + 5).to_bytes(4, "little") + head + value + b"\0" for value in raw]
    return [decode(body)["v"] for body in bodies]


def reason(command: dict[str, Any]) -> Reason:
    with pytest.raises(Refusal) as caught:
        plan(command)
    return caught.value.reason


def days(*numbers: int) -> list[datetime]:
    return [datetime(2000, 1, number) for number in numbers]
