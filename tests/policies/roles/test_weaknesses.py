"""What lint says of roles."""

import pytest

from sealwire.policies.file.lint import lint
from sealwire.policies.file.loader import load_policy

HEAD = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  born: {mode: deterministic, type: date}
  notes: {mode: random}
collections: {clinic.patients: {nhs_number: nhs, visits: visits, born: born, notes: notes}}
"""


def found(roles: str) -> list[tuple[str, str]]:
    policy = load_policy((HEAD + f"roles: {{{roles}}}").encode(), "p")
    return [(finding.rule, finding.where) for finding in lint(policy)]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("r: {users: [a@b], classes: {nhs: {read: clear}}}", []),
        ("r: {users: [a@b], classes: {nhs: {read: denied}}}", [("role-gives-nothing", "r")]),
        ("r: {users: [a@b], delete: true, classes: {nhs: {}}}", []),
        ("r: {users: ['*@*'], classes: {nhs: {read: clear}}}", [("role-for-everybody", "r")]),
        ("r: {users: ['*@*'], require_certificate: true, classes: {nhs: {read: clear}}}", []),
        (
            "r: {users: [a@b], break_glass: true, classes: {nhs: {read: clear}}}",
            [("glass-without-limit", "r")],
        ),
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
        (
            "r: {users: [a@b], comparisons_per_hour: 9, classes: {nhs: {read: {mask: last4}, filter: true}}}",
            [],
        ),
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
    ],
)
def test_what_is_weak_is_found(roles: str, expected: list[tuple[str, str]]) -> None:
    assert found(roles) == expected
