"""Who has a role, and what roles give together."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import decode, encode
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.files.errors import SourceError
from sealwire.policies.file.loader import load_policy
from sealwire.policies.roles.masks import FIXED, masked
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
from sealwire.policies.roles.screening import MASK, screened
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements
from tests.bson_types import BsonType
from tests.support.rows import rows

SEES = {"nhs": ClassAccess(CLEAR)}
NOBODY = Wildcards((), are_subjects=True)


def user(text: str) -> NamedUser:
    name, _, database = text.rpartition("@")
    return NamedUser(Wildcards((name,)), Wildcards((database,)))


def role(name: str = "r", *users: str, certificates: tuple[str, ...] = ()) -> Role:
    subjects = Wildcards(certificates, are_subjects=True)
    return Role(name, tuple(map(user, users)), subjects, SEES, NO_ACCESS)


@rows(
    "pattern, name, is_match",
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
)
def test_a_user_is_named_in_full_or_with_wildcards(pattern: str, name: str, is_match: bool) -> None:
    assert user(pattern).match(name) is is_match


@rows(
    "pattern, subject, is_match",
    ("CN=desk,*", "CN=desk,O=Clinic", True),
    ("CN=desk,*", "CN=desk\\,O=Clinic", False),
    ("*,O=Clinic", "CN=ann,O=Clinic", True),
    ("*,O=Clinic", "CN=ann\\,O=Clinic", False),
    ("*,O=Clinic", "CN=ann\\\\,O=Clinic", True),
    ("*,O=Clinic", "CN=ann,O=Clinic,L=x", False),
    ("CN=desk", "CN=desk2", False),
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


@rows(
    "users, certificates, needs, logins, shown, expected",
    (("a@b",), (), False, True, False, True),
    (("a@b",), (), False, False, True, False),
    (("a@b",), ("CN=a",), False, False, True, True),
    ((), ("CN=a",), False, True, False, False),
    ((), ("CN=a",), False, False, True, True),
    (("a@b",), (), True, True, False, False),
    (("a@b",), (), True, False, True, False),
    (("a@b",), (), True, True, True, True),
    ((), ("CN=a",), True, False, True, True),
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

CIPHERTEXT, HIDDEN, LAST_FOUR = (
    Disclosure(Level.CIPHERTEXT),
    Disclosure(Level.MASKED),
    Disclosure(Level.MASKED, Mask.LAST4),
)
IN_ORDER = [DENIED, CIPHERTEXT, HIDDEN, LAST_FOUR, CLEAR]


@pytest.mark.parametrize("place", range(len(IN_ORDER)))
def test_levels_have_an_order(place: int) -> None:
    shows_more = [IN_ORDER[place].shows_more_than(other) for other in IN_ORDER]
    assert shows_more == [True] * place + [False] * (len(IN_ORDER) - place)


def test_of_two_masks_that_show_a_part_the_first_stays() -> None:
    year = Disclosure(Level.MASKED, Mask.YEAR)
    assert ClassAccess(LAST_FOUR).joined(ClassAccess(year)).read == LAST_FOUR
    assert ClassAccess(year).joined(ClassAccess(LAST_FOUR)).read == year


def test_together_they_allow_what_either_does() -> None:
    one, other = ClassAccess(DENIED, filters=True), ClassAccess(HIDDEN, writes=True)
    assert one.joined(other) == other.joined(one) == ClassAccess(HIDDEN, filters=True, writes=True)


# The policy file's `roles`.


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


@rows(
    "text, problem",
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
    ("roles: {r: {users: [a@b], comparisons_per_hour: 0, classes: {nhs: {}}}}", "expected a whole number"),
    ("roles: {r: {users: [a@b], purposes: ['a;b'], classes: {nhs: {}}}}", "not a purpose"),
    ("roles: {r: {users: [a@b], purposes: [' a'], classes: {nhs: {}}}}", "not a purpose"),
    ("roles: {r: {certificates: [a], issuer: '', classes: {nhs: {}}}}", "expected a non-empty string"),
    ("roles: {r: {users: [a@b], issuer: CN=x, classes: {nhs: {}}}}", "no certificate that it could"),
    ("roles: {'no name': {users: [a@b], classes: {nhs: {}}}}", "is not a role's name"),
)
def test_what_cannot_be_meant_is_an_error_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(SourceError, match=problem) as caught:
        roles_in(text)
    assert caught.value.line > 1


def test_an_authority_may_be_named_for_certificates() -> None:
    for certificates in ("certificates: ['CN=a']", "users: [a@b], require_certificate: true"):
        roles = roles_in(f"roles: {{r: {{{certificates}, issuer: CN=Clinic CA, classes: {{nhs: {{}}}}}}}}")
        assert [role.issuer for role in roles.roles] == ["CN=Clinic CA"]


# What each mask shows of each type of value.


def shown(mask: Mask, value: Any) -> Any:
    data = encode({"v": value})
    (element,) = elements(data, 0)
    return as_python(*masked(mask, element.kind, data[element.value : element.end]))


def as_python(kind: int, value: bytes) -> Any:
    size = 4 + 1 + 2 + len(value) + 1
    return decode(size.to_bytes(4, "little") + bytes((kind,)) + b"v\0" + value + b"\0")["v"]


@rows(
    "mask, value, expected",
    (Mask.LAST4, "943 476 5919", "****5919"),
    (Mask.LAST4, "12345678", "****5678"),
    (Mask.LAST4, "1234567", FIXED),
    (Mask.LAST4, "", FIXED),
    (Mask.LAST4, 12345678, "****5678"),
    (Mask.LAST4, -12345678, "****5678"),
    (Mask.LAST4, Int64(-(2**63)), "****5808"),
    (Mask.LAST4, 1234567, FIXED),
    (Mask.LAST4, 12345678.0, FIXED),
    (Mask.LAST4, "ééééßßßß", "****ßßßß"),
    (Mask.YEAR, datetime(1950, 3, 1, tzinfo=UTC), "1950"),
    (Mask.YEAR, datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), "1969"),
    (Mask.YEAR, datetime(2000, 2, 29, tzinfo=UTC), "2000"),
    (Mask.YEAR, datetime(1, 1, 1, tzinfo=UTC), "0001"),
    (Mask.YEAR, "1950-03-01", "1950"),
    (Mask.YEAR, "1950-03-01T10:00:00Z", "1950"),
    (Mask.YEAR, "1950", FIXED),
    (Mask.YEAR, "943-47-6591", FIXED),
    (Mask.YEAR, 1950, FIXED),
    (Mask.OUTWARD, "SW1A 1AA", "SW1A ***"),
    (Mask.OUTWARD, "m11ae", "M1 ***"),
    (Mask.OUTWARD, "M1", FIXED),
    (Mask.OUTWARD, "9434765919", FIXED),
    (Mask.INITIALS, "Jane Maria Smith", "J.M.S. ***"),
    (Mask.INITIALS, "J S", FIXED),
    (Mask.INITIALS, "9434765919", FIXED),
    (Mask.INITIALS, "one two three four five six seven", FIXED),
    (Mask.INITIALS, "", FIXED),
    (Mask.FIXED, "Jane Maria Smith", FIXED),
    (Mask.FIXED, "SW1A 1AA", FIXED),
    (Mask.FIXED, 12345678, FIXED),
    (Mask.INITIALS, 12345678, FIXED),
    (Mask.OUTWARD, 12345678, FIXED),
)
def test_a_mask_shows_a_part_of_what_it_fits(mask: Mask, value: Any, expected: str) -> None:
    assert shown(mask, value) == expected


@pytest.mark.parametrize("millis", [-(2**63), 2**63 - 1, -62_135_596_800_001, 253_402_300_800_000])
def test_a_date_beyond_four_digits_has_no_year_that_is_shown(millis: int) -> None:
    assert as_python(*masked(Mask.YEAR, kinds.DATE, millis.to_bytes(8, "little", signed=True))) == FIXED


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)))
def test_the_year_is_that_of_the_calendar(day: datetime) -> None:
    assert shown(Mask.YEAR, day) == f"{day.year:04d}"


@pytest.mark.parametrize("bson_type", list(BsonType))
@pytest.mark.parametrize("mask", [*Mask])
def test_every_type_has_an_outcome_and_it_is_a_text(bson_type: BsonType, mask: Mask) -> None:
    size = 4 if bson_type is BsonType.INT else 8
    kind, value = masked(mask, bson_type.value, b"\x04\0\0\x00123\0"[:size])
    assert kind == (kinds.NULL if bson_type is BsonType.NULL else kinds.STRING)
    assert kind == kinds.NULL or isinstance(as_python(kind, value), str)


@given(st.text(max_size=40), st.sampled_from([*Mask]))
def test_no_text_is_shown_whole_or_by_its_length(text: str, mask: Mask) -> None:
    found = shown(mask, text)
    assert found != text or text in ("***",) or "*" in text
    assert len(found) <= 24


# What a log shows of text that a client wrote.


@rows(
    "text",
    *("direct-care", "audit", "unconscious", "", "Ward 7 round", "patient-portal 2.14.1"),
    *("billing run 2026", "PyMongo|c 4.15.0", "nodejs|Mongoose 6.8.0|8.0.1", "team A"),
)
def test_text_without_an_identifier_stands_as_it_is(text: str) -> None:
    assert screened(text, 64) == text


@rows(
    "text, shown",
    ("care of 9434765919", f"care of {MASK}"),
    ("care of 943 476 5919 today", f"care of {MASK} today"),
    ("care of 943-476-5919", f"care of {MASK}"),
    ("9434765919 Smith, ward 3", f"{MASK} {MASK}, ward 3"),
    ("mail ann.smith@nhs.example now", f"mail {MASK} now"),
    ("lives at SW1A 2AA", f"lives at {MASK}"),
    ("ni AB 12 34 56 C or AB123456C", f"ni {MASK} or {MASK}"),
    ("born 1961-04-12", f"born {MASK}"),
    ("tel +44 (0)20 7946 0018", f"tel +{MASK}"),
    ("review of Ann Smith", f"review of {MASK}"),
    ("review of Ann-Marie O'Neill", f"review of {MASK}"),
    ("\u0669\u0664\u0663\u0664\u0667\u0666\u0665\u0669\u0661\u0669", MASK),
)
def test_identifiers_and_names_beside_them_are_masked(text: str, shown: str) -> None:
    assert screened(text, 64) == shown


def test_the_name_of_an_application_is_masked_beside_an_identifier_only() -> None:
    assert screened("Clinic Portal", 64, has_names=False) == "Clinic Portal"
    assert screened("Clinic Portal 9434765919", 64, has_names=False) == f"{MASK} {MASK} {MASK}"


def test_a_long_text_is_cut_and_no_part_of_a_number_is_left_at_the_cut() -> None:
    assert screened("a" * 40, 32) == "a" * 32 + "…"
    assert screened("round in 94347 of them all", 13) == f"round in {MASK}…"
    assert screened("x" * 20 + " 9434765919", 24).startswith("x" * 20)
    assert "943" not in screened("x" * 20 + " 9434765919", 24)
