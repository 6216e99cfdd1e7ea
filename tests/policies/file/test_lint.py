"""Lint warns of what is valid and weak, and of nothing else."""

import pytest

from sealwire.policies.file.lint import lint
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves
from tests.policies.support import COVERED_PATHS, POLICY
from tests.support.rows import rows


def findings(*paths: str, mode: str = "deterministic, type: string") -> list[tuple[str, str]]:
    """(rule, where) for a collection with these paths of one class."""
    fields = "".join(f"    '{path}': a\n" for path in paths)
    source = f"version: 1\nclasses: {{a: {{mode: {mode}}}}}\ncollections:\n  c.d:\n{fields}"
    return [(finding.rule, finding.where) for finding in lint(load_policy(source.encode(), "p"))]


@rows("path", "sex", "Gender", "patient.ward", "marital_status", "blood-group", "visits.outcome")
def test_deterministic_fields_of_few_values_are_found(path: str) -> None:
    assert findings(path) == [("few-values", f"c.d {path}")]
    assert findings(path, mode="random") == []


@pytest.mark.parametrize("path", ["surname", "address.postcode", "last_name", "City"])
def test_skewed_fields_are_found(path: str) -> None:
    assert findings(path) == [("skewed-values", f"c.d {path}")]


@pytest.mark.parametrize("path", ["nhs_number", "mrn", "phone", "sexton", "estate"])
def test_fields_of_many_values_are_fine(path: str) -> None:
    assert findings(path) == []


def test_a_deterministic_bool_is_found_by_its_class() -> None:
    assert findings("x", mode="deterministic, type: bool") == [("few-values", "a")]


def test_a_random_class_that_asks_is_found() -> None:
    assert findings("x", mode="random, ask: true") == [("ask-of-random", "a")]


def test_a_class_that_nothing_uses_is_found() -> None:
    source = b"version: 1\nclasses: {a: {mode: random}, b: {mode: random}}\ncollections: {'t*.x': {y: b}}\n"
    assert [(finding.rule, finding.where) for finding in lint(load_policy(source, "p"))] == [
        ("unused-class", "a")
    ]


def test_patterns_are_looked_at_as_well() -> None:
    source = (
        b"version: 1\nclasses: {a: {mode: deterministic, type: string}}\ncollections: {'t*.x': {sex: a}}\n"
    )
    assert [finding.where for finding in lint(load_policy(source, "p"))] == ["t*.x sex"]


def test_leaves_are_the_covered_paths_in_their_order() -> None:
    assert sorted(leaf.path for leaf in leaves(POLICY.collections["clinic.patients"])) == sorted(
        COVERED_PATHS
    )


# ------------------------------------------------------------------------------------------------- weak roles

HEAD = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  born: {mode: deterministic, type: date}
  notes: {mode: random}
collections: {clinic.patients: {nhs_number: nhs, visits: visits, born: born, notes: notes}}
"""


def found(roles: str, head: str = HEAD) -> list[tuple[str, str]]:
    policy = load_policy((head + f"roles: {{{roles}}}").encode(), "p")
    return [(finding.rule, finding.where) for finding in lint(policy)]


@rows(
    "roles, expected",
    ("r: {users: [a@b], classes: {nhs: {read: clear}}}", []),
    ("r: {users: [a@b], classes: {nhs: {read: denied}}}", [("role-gives-nothing", "r")]),
    ("r: {users: [a@b], delete: true, classes: {nhs: {}}}", []),
    ("r: {users: ['*@*'], classes: {nhs: {read: clear}}}", [("role-for-everybody", "r")]),
    ("r: {users: ['*@*'], require_certificate: true, classes: {nhs: {read: clear}}}", []),
    ("r: {users: [a@b], break_glass: true, classes: {nhs: {read: clear}}}", [("glass-without-limit", "r")]),
    ("r: {users: [a@b], break_glass: true, documents_per_hour: 9, classes: {nhs: {read: clear}}}", []),
    (
        "r: {users: [a@b], classes: {nhs: {read: {mask: last4}, write: true}}}",
        [("mask-written-back", "r nhs")],
    ),
    (
        "r: {users: [a@b], classes: {nhs: {read: ciphertext, write: true}}}",
        [("write-tells-equality", "r nhs")],
    ),
    ("r: {users: [a@b], classes: {nhs: {read: ciphertext, write: true, filter: true}}}", []),
    (
        "r: {users: [a@b], classes: {nhs: {read: {mask: last4}, filter: true}}}",
        [("mask-without-limit", "r nhs")],
    ),
    ("r: {users: [a@b], comparisons_per_hour: 9, classes: {nhs: {read: {mask: last4}, filter: true}}}", []),
    ("r: {users: [a@b], classes: {nhs: {read: {mask: fixed}, filter: true}}}", []),
    ("r: {users: [a@b], classes: {notes: {read: ciphertext, write: true}}}", []),
    ("r: {users: [a@b], classes: {born: {read: {mask: last4}}}}", [("mask-without-part", "r born")]),
    ("r: {users: [a@b], classes: {visits: {read: {mask: year}}}}", [("mask-without-part", "r visits")]),
    ("r: {users: [a@b], classes: {notes: {read: {mask: year}}, born: {read: {mask: fixed}}}}", []),
    (
        "r: {users: [a@b], classes: {nhs: {read: denied, filter: true}}},"
        " s: {users: [a@b, c@d], classes: {'*': {read: clear}}}",
        [("denied-and-given", "r nhs")],
    ),
    (
        "r: {users: [a@b], classes: {nhs: {read: denied, filter: true}}},"
        " s: {users: [c@d], classes: {'*': {read: clear}}}",
        [],
    ),
)
def test_what_is_weak_is_found(roles: str, expected: list[tuple[str, str]]) -> None:
    assert found(roles) == expected


@rows(
    "limits, expected",
    ("", []),
    ("documents_per_hour: 5, ", [("ask-without-limit", "r nhs")]),
    ("documents_per_hour: 5, comparisons_per_hour: 50, ", []),
)
def test_limits_of_documents_alone_do_not_bound_what_is_asked(
    limits: str, expected: list[tuple[str, str]]
) -> None:
    head = HEAD.replace("type: string}", "type: string, ask: true}")
    assert (
        found(f"r: {{users: [a@b], {limits}classes: {{'*': {{read: clear, filter: true}}}}}}", head)
        == expected
    )
    masked = f"r: {{users: [a@b], {limits}classes: {{nhs: {{read: {{mask: fixed}}, filter: true}}}}}}"
    assert found(masked, head) == []
