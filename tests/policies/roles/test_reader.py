"""The policy file's `roles`."""

import pytest

from sealwire.files.errors import SourceError
from sealwire.policies.file.loader import load_policy
from sealwire.policies.roles.role import CLEAR, DENIED, NO_ACCESS, ClassAccess, Disclosure, Level, Mask, Roles

HEAD = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""


def roles_in(text: str) -> Roles:
    policy = load_policy((HEAD + text).encode(), "policy.yaml")
    assert policy.roles is not None
    return policy.roles


def test_without_the_key_there_are_none() -> None:
    assert load_policy(HEAD.encode(), "policy.yaml").roles is None


def test_a_role_is_read_with_all_that_it_says() -> None:
    (role,) = roles_in("""
roles:
  clerk:
    users: [reception@admin, "desk_*@clinic"]
    certificates: ["CN=desk,*"]
    require_certificate: true
    purposes: [direct-care]
    documents_per_hour: 2000
    comparisons_per_hour: 100
    break_glass: true
    delete: true
    classes:
      nhs: {read: {mask: last4}, filter: true, write: false}
      notes: {read: denied}
      "*": {read: ciphertext, write: true}
""").roles
    assert role.name == "clerk"
    assert role.classes == {
        "nhs": ClassAccess(Disclosure(Level.MASKED, Mask.LAST4), filters=True),
        "notes": ClassAccess(DENIED),
    }
    assert role.others == ClassAccess(Disclosure(Level.CIPHERTEXT), writes=True)
    assert (role.needs_certificate, role.break_glass, role.deletes) == (True, True, True)
    assert (role.purposes, role.documents_per_hour) == (("direct-care",), 2000)
    assert role.comparisons_per_hour == 100
    assert [each.match("desk_3@clinic") for each in role.users] == [False, True]
    assert role.certificates.texts == ("CN=desk,*",)


def test_what_a_role_does_not_say_it_does_not_allow() -> None:
    (role,) = roles_in("roles: {r: {users: [a@b], classes: {nhs: {read: clear}}}}").roles
    assert role.access("nhs") == ClassAccess(CLEAR)
    assert role.access("notes") == NO_ACCESS
    assert (role.deletes, role.break_glass, role.needs_certificate) == (False, False, False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("roles: {}", "no roles"),
        ("roles: {r: {classes: {nhs: {}}}}", "a role that nobody has"),
        ("roles: {r: {users: [], classes: {nhs: {}}}}", "an empty list"),
        ("roles: {r: {users: [reception], classes: {nhs: {}}}}", "a user without a database"),
        ("roles: {r: {users: ['@admin'], classes: {nhs: {}}}}", "a user without a database"),
        ("roles: {r: {users: [a@b]}}", "missing key 'classes'"),
        ("roles: {r: {users: [a@b], classes: {}}}", "no classes"),
        ("roles: {r: {users: [a@b], classes: {other: {read: clear}}}}", "'other' is no class of this policy"),
        ("roles: {r: {users: [a@b], classes: {nhs: {read: all}}}}", "'all' is not known here"),
        ("roles: {r: {users: [a@b], classes: {nhs: {read: {mask: half}}}}}", "'half' is not known here"),
        ("roles: {r: {users: [a@b], classes: {nhs: {filter: 1}}}}", "expected true or false"),
        ("roles: {r: {users: [a@b], classes: {nhs: {reads: clear}}}}", "unknown key 'reads'"),
        ("roles: {r: {users: [a@b], documents_per_hour: 0, classes: {nhs: {}}}}", "expected a whole number"),
        (
            "roles: {r: {users: [a@b], comparisons_per_hour: 0, classes: {nhs: {}}}}",
            "expected a whole number",
        ),
        ("roles: {r: {users: [a@b], purposes: ['a;b'], classes: {nhs: {}}}}", "not a purpose"),
        ("roles: {r: {users: [a@b], purposes: [' a'], classes: {nhs: {}}}}", "not a purpose"),
        ("roles: {r: {certificates: [a], issuer: '', classes: {nhs: {}}}}", "expected a non-empty string"),
        ("roles: {r: {users: [a@b], issuer: CN=x, classes: {nhs: {}}}}", "no certificate that it could"),
        ("roles: {'no name': {users: [a@b], classes: {nhs: {}}}}", "is not a role's name"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(SourceError, match=problem) as caught:
        roles_in(text)
    assert caught.value.line > 1


def test_an_authority_may_be_named_for_certificates() -> None:
    for certificates in ("certificates: ['CN=a']", "users: [a@b], require_certificate: true"):
        roles = roles_in(f"roles: {{r: {{{certificates}, issuer: CN=Clinic CA, classes: {{nhs: {{}}}}}}}}")
        assert [role.issuer for role in roles.roles] == ["CN=Clinic CA"]
