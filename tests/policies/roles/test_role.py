"""Who has a role, and what roles give together."""

from dataclasses import replace

import pytest

from sealwire.policies.roles.role import (
    CLEAR,
    DENIED,
    NO_ACCESS,
    Claim,
    ClassAccess,
    Disclosure,
    Level,
    Mask,
    NamedUser,
    Rights,
    Role,
    Roles,
    Wildcards,
)

SEES = {"nhs": ClassAccess(CLEAR)}
NOBODY = Wildcards((), are_subjects=True)


def user(text: str) -> NamedUser:
    name, _, database = text.rpartition("@")
    return NamedUser(Wildcards((name,)), Wildcards((database,)))


def role(name: str = "r", *users: str, certificates: tuple[str, ...] = ()) -> Role:
    subjects = Wildcards(certificates, are_subjects=True)
    return Role(name, tuple(map(user, users)), subjects, SEES, NO_ACCESS)


@pytest.mark.parametrize(
    ("pattern", "name", "is_match"),
    [
        ("ann@admin", "ann@admin", True),
        ("ann@admin", "ANN@admin", False),
        ("ann@admin", "ann@clinic", False),
        ("desk_*@clinic", "desk_3@clinic", True),
        ("desk_*@clinic", "desk_3@clinic@evil", False),
        ("*@clinic", "jane@nhs.net@clinic", True),
        ("*@clinic", "bob@a%40clinic", False),
        ("*@*", "ann@admin", True),
        ("a.c@admin", "abc@admin", False),
        ("a?c@admin", "abc@admin", False),
        ("[ab]@admin", "a@admin", False),
        ("a*c@admin", "a\nc@admin", True),
    ],
)
def test_a_user_is_named_in_full_or_with_wildcards(pattern: str, name: str, is_match: bool) -> None:
    assert user(pattern).match(name) is is_match


@pytest.mark.parametrize(
    ("pattern", "subject", "is_match"),
    [
        ("CN=desk,*", "CN=desk,O=Clinic", True),
        ("CN=desk,*", "CN=desk\\,O=Clinic", False),
        ("*,O=Clinic", "CN=ann,O=Clinic", True),
        ("*,O=Clinic", "CN=ann\\,O=Clinic", False),
        ("*,O=Clinic", "CN=ann\\\\,O=Clinic", True),
        ("*,O=Clinic", "CN=ann,O=Clinic,L=x", False),
        ("CN=desk", "CN=desk2", False),
    ],
)
def test_an_escaped_comma_ends_no_name_in_a_subject(pattern: str, subject: str, is_match: bool) -> None:
    assert Wildcards((pattern,), are_subjects=True).match(subject) is is_match


def test_either_the_user_or_the_certificate_is_enough_unless_both_are_wanted() -> None:
    either = role("r", "ann@admin", certificates=("CN=ann",))
    both = replace(either, needs_certificate=True)
    by_user, by_both = Claim(("ann@admin",)), Claim(("ann@admin",), "CN=ann")
    other = Claim(("bob@admin",), "CN=ann")
    assert [either.lacks(each) for each in (by_user, by_both, other, Claim())] == ["", "", "", None]
    assert [both.lacks(each) for each in (by_user, by_both, other, Claim())] == [
        "a certificate",
        "",
        None,
        None,
    ]


def test_a_certificate_may_be_wanted_whatever_its_subject() -> None:
    certified = replace(role("r", "ann@admin"), needs_certificate=True)
    assert certified.lacks(Claim(("ann@admin",))) == "a certificate"
    assert certified.lacks(Claim(("ann@admin",), "CN=anybody")) == ""


@pytest.mark.parametrize("needs_certificate", [True, False])
def test_a_certificate_of_another_authority_does_not_count(*, needs_certificate: bool) -> None:
    certified = role("r", certificates=("CN=ward-3",))
    certified = replace(certified, needs_certificate=needs_certificate, issuer="CN=Clinic CA")
    lacking = [
        certified.lacks(Claim((), "CN=ward-3", issuer=issuer)) for issuer in ("CN=Clinic CA", "CN=x", "")
    ]
    assert lacking == ["", None, None]


def test_a_certificate_that_is_wanted_may_have_to_be_of_one_authority() -> None:
    certified = replace(role("r", "ann@admin"), needs_certificate=True, issuer="CN=Clinic CA")
    assert certified.lacks(Claim(("ann@admin",), "CN=x", issuer="CN=Supplier CA")) == "a certificate"
    assert certified.lacks(Claim(("ann@admin",), "CN=x", issuer="CN=Clinic CA")) == ""


def test_no_certificate_is_not_a_certificate_with_any_subject() -> None:
    assert role("r", certificates=("*",)).lacks(Claim()) is None
    assert role("r", certificates=("*",)).lacks(Claim(certificate="CN=x")) == ""


@pytest.mark.parametrize(
    ("users", "certificates", "needs", "logins", "shown", "expected"),
    [
        (("a@b",), (), False, True, False, True),
        (("a@b",), (), False, False, True, False),
        (("a@b",), ("CN=a",), False, False, True, True),
        ((), ("CN=a",), False, True, False, False),
        ((), ("CN=a",), False, False, True, True),
        (("a@b",), (), True, True, False, False),
        (("a@b",), (), True, False, True, False),
        (("a@b",), (), True, True, True, True),
        ((), ("CN=a",), True, False, True, True),
    ],
)
def test_a_role_that_nobody_can_have_is_known(
    users: tuple[str, ...],
    certificates: tuple[str, ...],
    needs: bool,
    logins: bool,
    shown: bool,
    expected: bool,
) -> None:
    found = replace(role("r", *users, certificates=certificates), needs_certificate=needs)
    assert found.may_count(has_logins=logins, has_certificates=shown) is expected


def test_a_purpose_and_a_reason_make_a_role_count() -> None:
    asking = replace(role("r", "ann@admin"), purposes=("care",), break_glass=True)
    claim = Claim(("ann@admin",))
    assert asking.lacks(claim) == "a reason to break the glass"
    assert asking.lacks(replace(claim, has_reason=True)) == "a purpose"
    assert asking.lacks(replace(claim, has_reason=True, purpose="care")) == ""
    assert asking.lacks(replace(claim, has_reason=True, purpose="Care")) == "a purpose"


def test_several_roles_give_the_most_of_each() -> None:
    first = replace(role("first", "ann@admin"), classes={"nhs": ClassAccess(CLEAR)}, documents_per_hour=5)
    masked = ClassAccess(Disclosure(Level.MASKED, Mask.LAST4), filters=True)
    second = replace(
        role("second", "*@admin"),
        classes={"nhs": masked, "born": ClassAccess(Disclosure(Level.CIPHERTEXT), writes=True)},
        others=ClassAccess(Disclosure(Level.MASKED)),
        documents_per_hour=9,
        deletes=True,
    )
    rights = Roles((first, second), ("nhs", "born")).rights(Claim(("ann@admin",)))
    assert rights.roles == ("first", "second")
    assert rights.access("nhs") == ClassAccess(CLEAR, filters=True)
    assert rights.access("born") == ClassAccess(Disclosure(Level.CIPHERTEXT), writes=True)
    assert rights.access("another") == ClassAccess(Disclosure(Level.MASKED))
    assert (rights.documents_per_hour, rights.deletes, rights.is_glass_broken) == (9, True, False)


def test_a_role_without_a_limit_has_none_for_all() -> None:
    limited = replace(role("a", "ann@admin"), documents_per_hour=5)
    rights = Roles((limited, role("b", "ann@admin")), ("nhs",)).rights(Claim(("ann@admin",)))
    assert rights.documents_per_hour is None


def test_only_roles_that_allow_to_compare_count_for_the_limit_of_comparisons() -> None:
    compares = {"nhs": ClassAccess(CLEAR, filters=True)}
    limited = replace(role("a", "ann@admin"), classes=compares, comparisons_per_hour=5)
    other = replace(limited, name="b", comparisons_per_hour=7)
    free = replace(limited, name="c", comparisons_per_hour=None)

    def limit(*roles: Role) -> int | None:
        return Roles(roles, ("nhs",)).rights(Claim(("ann@admin",))).comparisons_per_hour

    assert limit(limited, role("r", "ann@admin")) == 5
    assert limit(limited, other) == 7
    assert limit(limited, free) is None
    assert limit(role("r", "ann@admin")) is None


def test_a_broken_glass_has_the_limit_of_its_own_role() -> None:
    unlimited, limited = role("a", "ann@admin"), replace(role("b", "ann@admin"), documents_per_hour=2000)
    glass = replace(role("g", "ann@admin"), break_glass=True, documents_per_hour=50)
    for ordinary in (unlimited, limited):
        roles = Roles((ordinary, glass), ("nhs",))
        assert roles.rights(Claim(("ann@admin",))).documents_per_hour == ordinary.documents_per_hour
        assert roles.rights(Claim(("ann@admin",), has_reason=True)).documents_per_hour == 50


def test_a_class_that_one_role_denies_and_another_covers_by_its_star_is_shown() -> None:
    denying = replace(role("a", "ann@admin"), classes={"nhs": NO_ACCESS})
    open_to_all = replace(role("b", "ann@admin"), classes={}, others=ClassAccess(CLEAR))
    rights = Roles((denying, open_to_all), ("nhs",)).rights(Claim(("ann@admin",)))
    assert rights.access("nhs").read == CLEAR


def test_who_has_no_role_has_no_rights_and_is_told_what_is_missing() -> None:
    asking = replace(role("r", "ann@admin"), purposes=("care",))
    roles = Roles((asking,), ("nhs",))
    assert roles.rights(Claim(("ann@admin",))).lacks == "a purpose"
    assert roles.rights(Claim(("bob@admin",))).lacks == "a role"
    assert roles.rights(Claim(("bob@admin",))).is_empty
    assert roles.rights(Claim(("bob@admin",))).access("nhs") == NO_ACCESS


def test_a_broken_glass_shows() -> None:
    glass = replace(role("g", "ann@admin"), break_glass=True)
    roles = Roles((role("r", "ann@admin"), glass), ("nhs",))
    assert not roles.rights(Claim(("ann@admin",))).is_glass_broken
    assert roles.rights(Claim(("ann@admin",), has_reason=True)).is_glass_broken


LAST4, YEAR = Disclosure(Level.MASKED, Mask.LAST4), Disclosure(Level.MASKED, Mask.YEAR)
RIGHTS = Rights(
    ("r",),
    {
        "clear": ClassAccess(CLEAR),
        "last4": ClassAccess(LAST4),
        "year": ClassAccess(YEAR),
        "fixed": ClassAccess(Disclosure(Level.MASKED)),
        "ciphertext": ClassAccess(Disclosure(Level.CIPHERTEXT)),
    },
)


def test_a_class_that_is_not_named_is_denied() -> None:
    assert RIGHTS.disclosure(["clear"]) == CLEAR
    assert RIGHTS.disclosure(["another"]) == DENIED


def test_of_classes_that_share_a_key_the_least_counts() -> None:
    assert RIGHTS.disclosure(["clear", "last4"]) == LAST4
    assert RIGHTS.disclosure(["last4", "clear"]) == LAST4
    assert RIGHTS.disclosure(["last4", "ciphertext", "clear"]) == Disclosure(Level.CIPHERTEXT)
    assert RIGHTS.disclosure(["clear", "another"]) == DENIED
    assert RIGHTS.disclosure([]) == DENIED


def test_of_two_masks_neither_is_used() -> None:
    fixed = Disclosure(Level.MASKED, Mask.FIXED)
    assert RIGHTS.disclosure(["last4", "year"]) == fixed
    assert RIGHTS.disclosure(["last4", "fixed"]) == fixed
    assert RIGHTS.disclosure(["fixed", "last4"]) == fixed
    assert RIGHTS.disclosure(["last4", "last4"]) == LAST4


def test_all_in_clear() -> None:
    assert RIGHTS.sees_in_clear(["clear"])
    assert RIGHTS.sees_in_clear([])
    assert not RIGHTS.sees_in_clear(["clear", "last4"])


def test_who_has_no_role() -> None:
    assert Rights().is_empty
    assert not RIGHTS.is_empty
    assert Rights().lacks == "a role"


# ----------------------------------------------------------------------------------------------------- access

CIPHERTEXT, FIXED, LAST_FOUR = (
    Disclosure(Level.CIPHERTEXT),
    Disclosure(Level.MASKED),
    Disclosure(Level.MASKED, Mask.LAST4),
)
IN_ORDER = [DENIED, CIPHERTEXT, FIXED, LAST_FOUR, CLEAR]


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_levels_have_an_order(place: int) -> None:
    shows_more = [IN_ORDER[place].shows_more_than(other) for other in IN_ORDER]
    assert shows_more == [True] * place + [False] * (len(IN_ORDER) - place)


def test_of_two_masks_that_show_a_part_the_first_stays() -> None:
    year = Disclosure(Level.MASKED, Mask.YEAR)
    assert ClassAccess(LAST_FOUR).joined(ClassAccess(year)).read == LAST_FOUR
    assert ClassAccess(year).joined(ClassAccess(LAST_FOUR)).read == year


def test_together_they_allow_what_either_does() -> None:
    one, other = ClassAccess(DENIED, filters=True), ClassAccess(FIXED, writes=True)
    assert one.joined(other) == other.joined(one) == ClassAccess(FIXED, filters=True, writes=True)
