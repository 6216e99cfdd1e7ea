"""`sealwire policy access`: who may do what, and why not."""

import json
from pathlib import Path

import pytest

from tests.cli.policy.runs import POLICY
from tests.cli.runs import Run

ROLES = """\
roles:
  clerk:
    users: [reception@admin]
    documents_per_hour: 2000
    comparisons_per_hour: 100
    classes:
      nhs: {read: {mask: last4}, filter: true}
      ward: {read: clear}
  emergency:
    users: [reception@admin]
    break_glass: true
    delete: true
    classes: {"*": {read: clear}}
  researcher:
    certificates: ["CN=lab"]
    issuer: CN=Clinic CA
    purposes: [research]
    classes: {ward: {read: ciphertext, filter: true, write: true}}
"""
FIND = '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
CLERK = ("--as", "reception@admin")
LAB = ("--certificate", "CN=lab", "--issuer", "CN=Clinic CA")


@pytest.fixture
def roles(policy: Path) -> Path:
    """A policy with roles."""
    policy.write_text(POLICY + ROLES)
    return policy


def test_rights_are_shown_by_class(roles: Path, run: Run) -> None:
    result = run("access", roles, *CLERK, "--json")
    assert result.code == 0
    assert json.loads(result.out) == {
        "roles": ["clerk"],
        "lacks": "",
        "delete": False,
        "documents_per_hour": 2000,
        "comparisons_per_hour": 100,
        "breaks_glass": False,
        "classes": [
            {"class": "nhs", "read": "masked (last4)", "filter": "yes", "write": "no"},
            {"class": "ward", "read": "clear", "filter": "no", "write": "no"},
            {"class": "notes", "read": "denied", "filter": "no", "write": "no"},
        ],
    }
    shown = run("access", roles, *CLERK).out
    assert "roles: clerk" in shown
    assert "2000 documents an hour" in shown
    assert "100 comparisons an hour" in shown


def test_a_command_that_would_pass(roles: Path, run: Run) -> None:
    result = run("access", roles, *CLERK, "--db", "clinic", "--json", FIND)
    assert (result.code, json.loads(result.out)["passes"]) == (0, True)
    shown = run("access", roles, *CLERK, "--db", "clinic", "-", stdin=FIND)
    assert "passes" in shown.out
    assert "9434765919" not in shown.out + result.out


@pytest.mark.parametrize(
    ("command", "path", "rule"),
    [
        ('{"find": "patients", "filter": {"ward": "3"}}', "ward", "filtering"),
        ('{"insert": "patients", "documents": [{"ward": "3"}]}', "ward", "writing"),
        ('{"delete": "patients", "deletes": [{"q": {}, "limit": 0}]}', "clinic.patients", "deleting"),
    ],
)
def test_a_command_that_would_be_refused(roles: Path, run: Run, command: str, path: str, rule: str) -> None:
    result = run("access", roles, *CLERK, "--db", "clinic", "--json", command)
    assert result.code == 1
    assert json.loads(result.out) == {
        "refused": "role",
        "path": path,
        "rule": rule,
        "code": 13,
        "codeName": "Unauthorized",
    }
    assert "[role]" in run("access", roles, *CLERK, "--db", "clinic", command).out


def test_the_glass_is_broken_by_an_option_or_by_the_commands_comment(roles: Path, run: Run) -> None:
    by_option = run("access", roles, *CLERK, "--break-glass", "fire")
    assert "breaks the glass" in by_option.out
    assert "deletes documents" in by_option.out
    commented = '{"find": "patients", "comment": {"sealwire": {"breakGlass": "fire"}}}'
    found = run("access", roles, *CLERK, "--db", "clinic", "--json", commented)
    assert json.loads(found.out)["roles"] == ["clerk", "emergency"]


def test_a_certificate_and_a_purpose_may_be_what_is_missing(roles: Path, run: Run) -> None:
    result = run("access", roles, *LAB[:2], "--issuer", "CN=Supplier CA", "--json")
    assert (result.code, json.loads(result.out)["lacks"]) == (1, "a role")
    result = run("access", roles, *LAB, "--json")
    assert (result.code, json.loads(result.out)["lacks"]) == (1, "a purpose")
    assert "without a purpose no role counts" in run("access", roles, *LAB).out
    found = run("access", roles, *LAB, "--purpose", "research", "--json")
    assert json.loads(found.out)["classes"][1] == {
        "class": "ward",
        "read": "ciphertext",
        "filter": "yes",
        "write": "yes",
    }


def test_who_has_no_role(roles: Path, run: Run) -> None:
    result = run("access", roles, "--as", "bob@admin")
    assert (result.code, result.out.strip()) == (
        1,
        "without a role no role counts; what is not protected passes",
    )
    assert run("access", roles, "--as", "bob@admin", "--db", "clinic", '{"find": "wards"}').code == 0


@pytest.mark.parametrize("user", ["", "reception", "@admin", "reception@"])
def test_a_user_has_a_name_and_a_database(roles: Path, run: Run, user: str) -> None:
    assert run("access", roles, "--as", user).code == 2


def test_a_policy_without_roles(policy: Path, run: Run) -> None:
    assert "no roles" in run("access", policy, *CLERK).out
    assert json.loads(run("access", policy, *CLERK, "--json").out) == {"roles": None}


def test_what_is_no_command_is_an_error_of_use(roles: Path, run: Run) -> None:
    assert run("access", roles, *CLERK, "{").code == 2
    assert run("access", roles, *CLERK, '{"find": 1, "find": 2, "$db": 5}').code in (1, 2)
