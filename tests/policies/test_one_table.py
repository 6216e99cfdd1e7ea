"""One row of an operator is what all read: planner, moves of values, stored definitions, matrix and docs."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.policies.aggregation.stages import STAGES, TABLES
from sealwire.policies.commands.planner import naming_operators
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS as EXPRESSIONS
from sealwire.policies.filters.filters import OPERATORS, TOP_LEVEL
from sealwire.policies.planning.rules import Tables
from sealwire.policies.updates.updates import OPERATORS as UPDATES
from sealwire.sidecars.migration.definitions.constants import Width
from sealwire.sidecars.migration.definitions.conversions import ViewPaths
from sealwire.sidecars.migration.definitions.filters import Way, convert_filter
from tests.policies.filters.test_asking import find, plan
from tests.policies.support import covered, plan_of, reason
from tests.sidecars.migration.definitions.samples import ENCRYPTING, MOVED, TREE, form
from tools.generate_docs import render_matrix

FIND = {"find": "patients", "$db": "clinic"}


@pytest.fixture
def same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition that nobody knows has the row of `$eq`."""
    monkeypatch.setitem(OPERATORS, b"$same", OPERATORS[b"$eq"])


def test_a_condition_without_a_row_is_known_to_nobody() -> None:
    assert reason({**FIND, "filter": {"nhs_number": {"$same": "943"}}}) is Reason.UNKNOWN_OPERATOR
    assert b"$same" not in naming_operators()
    way = Way(ENCRYPTING, Width.NEW)
    assert convert_filter({"name": {"$same": "ann"}}, TREE, way) == {}
    assert way.lost == ["name: $same on the path"]
    assert "`$same`" not in render_matrix()


@pytest.mark.usefixtures("same")
def test_a_condition_with_a_row_is_right_everywhere() -> None:
    asked = covered({**FIND, "filter": {"nhs_number": {"$eq": "943"}}})
    assert covered({**FIND, "filter": {"nhs_number": {"$same": "943"}}}) == asked
    assert b"$same" in naming_operators()
    way = Way(ENCRYPTING, Width.WIDE)
    found = convert_filter({"name": {"$same": "ann"}}, TREE, way)
    assert found == {"name": {"$in": ["ann", form("ann")]}}
    assert way.lost == []
    assert "`$same`" in render_matrix()


def test_without_its_row_a_branch_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"$or": [{"name": "ann"}]}
    assert convert_filter(chosen, TREE, Way(ENCRYPTING, Width.NEW)) == {"$or": [{"name": form("ann")}]}
    assert b"$or" in naming_operators()
    monkeypatch.delitem(TOP_LEVEL, b"$or")
    way = Way(ENCRYPTING, Width.NEW)
    assert convert_filter(chosen, TREE, way) == {}
    assert way.lost == ["$or in a filter"]
    assert b"$or" not in naming_operators()


ASKING = {name for name, row in OPERATORS.items() if row.asks is not None}


@pytest.mark.parametrize("name", OPERATORS, ids=lambda name: name.decode())
def test_the_stored_values_answer_what_the_row_says(name: bytes) -> None:
    operand = [2, 0] if name == b"$mod" else 1 if name.startswith(b"$bits") else "x"
    command = find({"surname": {name.decode(): operand}})
    try:
        questions = plan(command, [])[1]
    except Refusal:
        questions = []
    assert [each.operators[0].name for each in questions] == [name] * (name in ASKING)


def test_without_its_say_an_operator_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, b"$regex", replace(OPERATORS[b"$regex"], asks=None))
    with pytest.raises(Refusal) as caught:
        plan(find({"surname": {"$regex": "x"}}), [])
    assert caught.value.reason is Reason.PATTERN
    assert not re.search(r"`\$regex`.*asking.md", render_matrix())


def test_the_page_on_asking_names_the_operators_that_it_answers() -> None:
    page = (Path(__file__).parents[2] / "docs/asking.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| operators |"))
    assert set(re.findall(r"`(\$\w+)`", row)) - {"$in"} == {name.decode() for name in ASKING}
    noted = re.findall(r"^\| `(\$\w+)` .*asking\.md", render_matrix(), re.MULTILINE)
    assert {name.encode() for name in noted} == ASKING


def test_an_update_operator_names_its_values_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPDATES, b"$put", UPDATES[b"$set"])
    monkeypatch.setitem(UPDATES, b"$raise", UPDATES[b"$max"])
    assert b"$put" in naming_operators()
    assert b"$raise" not in naming_operators()


def test_a_stage_is_right_everywhere_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline: list[dict[str, Any]] = [{"$thin": 3}, {"$match": {"name": "ann"}}]
    way = Way(ENCRYPTING, Width.NEW)
    views = ViewPaths(MOVED, "clinic", {})
    assert views.converted("patients", pipeline, way) == pipeline
    assert len(way.lost) == 1
    monkeypatch.setitem(STAGES, b"$thin", STAGES[b"$limit"])
    way = Way(ENCRYPTING, Width.NEW)
    assert views.converted("patients", pipeline, way) == [pipeline[0], {"$match": {"name": form("ann")}}]
    assert way.lost == []
    plan = plan_of({"aggregate": "patients", "pipeline": [{"$thin": 3}], "cursor": {}, "$db": "clinic"})
    assert plan.protected
    assert b"$thin" in Tables(EXPRESSIONS, STAGES).as_stored
    assert "`$thin`" in render_matrix()


def test_what_a_stage_writes_or_reads_elsewhere_stands_in_its_row() -> None:
    assert TABLES.writing == {b"$out", b"$merge"}
    assert TABLES.sources.keys() == {b"$lookup", b"$graphLookup", b"$unionWith", b"$out", b"$merge"}
    assert TABLES.as_stored < TABLES.of_one
    others = {name: row for name, row in STAGES.items() if name != b"$out"}
    assert Tables(EXPRESSIONS, others).writing == {b"$merge"}
