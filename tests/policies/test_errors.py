"""The errors that a refusal answers with: drivers decide by the number, people read the name."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.aggregation.stages import STAGES, TABLES
from sealwire.policies.commands.planner import naming_operators, plan_command
from sealwire.policies.errors import EXPLANATIONS, ErrorCode, Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS as EXPRESSIONS
from sealwire.policies.filters.filters import OPERATORS, TOP_LEVEL
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.rules import Tables
from sealwire.policies.updates.updates import OPERATORS as UPDATES
from sealwire.sidecars.migration.definitions.constants import Width
from sealwire.sidecars.migration.definitions.conversions import ViewPaths
from sealwire.sidecars.migration.definitions.filters import Way, convert_filter
from tests.build_context import ROOT
from tests.policies.filters.test_asking import plan
from tests.policies.support import POLICY, covered, find, insert, plan_of, reason, update
from tests.sidecars.migration.definitions.samples import ENCRYPTING, MOVED, TREE, form
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows
from tools.generate_docs import render_matrix

NOT_IMPLEMENTED = (238, "NotImplemented")
BAD_VALUE = (2, "BadValue")

# As mongod's error_codes.yml has them.
ANSWERS = {
    Reason.GRID: BAD_VALUE,
    Reason.TYPE: (14, "TypeMismatch"),
    Reason.CONTEXT: BAD_VALUE,
    Reason.ENVELOPE: BAD_VALUE,
    Reason.COMMAND: (115, "CommandNotSupported"),
    Reason.UNSEEN: (13, "Unauthorized"),
    Reason.ROLE: (13, "Unauthorized"),
    Reason.SHAPE: BAD_VALUE,
    Reason.OPCODE: (115, "CommandNotSupported"),
    Reason.TOO_LARGE: (10334, "BSONObjectTooLarge"),
    Reason.UNKNOWN_COMMAND: (59, "CommandNotFound"),
    Reason.UNKNOWN_OPERATOR: BAD_VALUE,
    Reason.UNKNOWN_MODIFIER: (9, "FailedToParse"),
    Reason.UNKNOWN_STAGE: (40324, "Location40324"),
    Reason.UNKNOWN_EXPRESSION: (168, "InvalidPipelineOperator"),
    Reason.UNKNOWN_ACCUMULATOR: (15952, "Location15952"),
}
"""What is not here is NotImplemented."""


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_the_code_and_the_name_that_the_server_uses(reason: Reason) -> None:
    code = Refusal(reason).error_code
    assert (code.code, code.code_name) == ANSWERS.get(reason, NOT_IMPLEMENTED)


def test_every_reason_is_explained_and_every_code_is_used() -> None:
    assert EXPLANATIONS.keys() == set(Reason)
    assert {code for code, _, _ in EXPLANATIONS.values()} == set(ErrorCode)


@rows(
    "path, rule, where",
    ("", "", "this"),
    ("a.b", "", "on 'a.b'"),
    ("", "$gt", "$gt"),
    ("a.b", "$gt", "$gt on 'a.b'"),
)
def test_a_message_names_the_place_that_is_known_and_the_reason(path: str, rule: str, where: str) -> None:
    message = Refusal(Reason.OPERATOR, path=path, rule=rule).message
    assert message.startswith(f"Sealwire refused {where}: ")
    assert message.endswith(" [operator]")


@rows(
    "name, known, said",
    ("fnd", [b"count", b"find"], ": no such command: 'fnd' (did you mean 'find'?); "),
    ("zzz", [b"count", b"find"], ": no such command: 'zzz'; "),
    ("fnd", [], ": no such command: 'fnd'; "),
)
def test_a_message_says_what_an_unknown_name_may_have_been_meant_for(
    name: str, known: list[bytes], said: str
) -> None:
    refusal = Refusal(Reason.UNKNOWN_COMMAND, rule=name, known=([], known))
    assert refusal.message.startswith("Sealwire refused this" + said)
    assert Refusal(Reason.UNKNOWN_COMMAND, rule=name, path="a.b", known=()).message.startswith(
        "Sealwire refused on 'a.b': no such command: "
    )


RANGED = policy_of("""
version: 1
classes:
  born: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2030-12-31}}
collections:
  clinic.people: {born: born}
""")


@rows(
    "command, where, wanted",
    ({"find": "patients", "filter": {"nhs_number": {"$in": [re.compile("a")]}}}, "$in on 'nhs_number'", ""),
    ({"find": "patients", "filter": {"nhs_number": re.compile("a")}}, "find on 'nhs_number'", ""),
    ({"find": "patients", "filter": {"notes": "x"}}, "find on 'notes'", ""),
    (update({"$set": {"nhs_number": 7}}), "$set on 'nhs_number'", "declared: string"),
    (insert({"nhs_number": 7}), "insert on 'nhs_number'", "declared: string"),
    (insert({"ratio": float("nan")}), "NaN on 'ratio'", "many encodings"),
    (insert({"ratio": Decimal128("NaN")}), "NaN on 'ratio'", "double;"),
    (insert({"ratio": -0.0}), "-0.0 on 'ratio'", "as the 0 that"),
    (insert({"big": float("nan")}), "insert on 'big'", "declared: long"),
    (
        {"insert": "people", "documents": [{"born": datetime(1970, 1, 1, 12, tzinfo=UTC)}]},
        "insert on 'born'",
        "midnight UTC",
    ),
)
def test_a_message_names_the_operator_or_the_command_and_what_the_path_takes(
    command: dict[str, Any], where: str, wanted: str
) -> None:
    policies = RANGED if command.get("insert") == "people" else POLICY
    with pytest.raises(Refusal) as caught:
        plan_command(policies, encode({**command, "$db": "clinic"}), 0)
    assert caught.value.message.startswith(f"Sealwire refused {where}: ")
    assert wanted in caught.value.message


@given(st.text(), st.integers(0, 20))
def test_one_line_is_bounded_printable_and_encodable(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert len(line.encode().splitlines()) <= 1


def test_printable_text_stays_as_it_is() -> None:
    assert one_line("clinic.überweisung") == "clinic.überweisung"


# docs/values.md: each row names a test, and the test is there.


PAGE = (ROOT / "docs" / "values.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Place")]
NAMED = re.compile(r"`(test_\w+)(?:::(test_\w+))?`")


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_a_test_that_is_there(row: str) -> None:
    named = NAMED.findall(row.split("|")[-2])
    assert named
    for module, function in named:
        (found,) = (ROOT / "tests" / "policies").rglob(f"{module}.py")
        text = found.read_text()
        assert f"def {function or 'test_'}" in text


def test_rows_have_one_cell_for_each_column() -> None:
    assert {row.count("|") for row in ROWS} == {5}


# One row of an operator is what all read: planner, moves of values, stored definitions, matrix and docs.


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
ASKING_OF_RANDOM = {b"$type", b"$size"}
"""Other ciphertext answers these without a question."""
EQUALITIES = {b"$eq", b"$ne", b"$in", b"$nin"}
"""Random classes answer these as well: see `filters.test_asking_random`."""


@pytest.mark.parametrize("name", OPERATORS, ids=lambda name: name.decode())
def test_the_stored_values_answer_what_the_row_says(name: bytes) -> None:
    operand = [2, 0] if name == b"$mod" else 1 if name.startswith((b"$bits", b"$size")) else "x"
    command = find({"surname": {name.decode(): "string" if name == b"$type" else operand}})
    for mode, answered in ("deterministic, type: string", ASKING - ASKING_OF_RANDOM), ("random", ASKING):
        policy = policy_of(f"""
            version: 1
            classes: {{surname: {{mode: {mode}, ask: true}}}}
            collections: {{clinic.patients: {{surname: surname}}}}
        """)
        try:
            questions = plan(command, [], policy=policy)[1]
        except Refusal:
            questions = []
        if mode == "deterministic, type: string" or name not in EQUALITIES:
            assert [each.operators[0].name for each in questions] == [name] * (name in answered)


def test_without_its_say_an_operator_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, b"$regex", replace(OPERATORS[b"$regex"], asks=None))
    with raising(Refusal, Reason.PATTERN):
        plan(find({"surname": {"$regex": "x"}}), [])
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
