"""What is suggested for fields that look personal: it is a policy, and says why."""

import pytest

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import FieldClass, Mode, ValueType, leaves
from sealwire.sidecars.coverage.fields import CollectionFields, Cover, FieldReport, first_policy, suggested
from sealwire.sidecars.coverage.likely import Personal


def personal(path: str, kind: Personal, value_type: str = "string") -> FieldReport:
    return FieldReport(path, Cover.PERSONAL, 9, "", kind, value_type, 1.0)


def marked(path: str, kind: Personal | None, *marks: int, value_type: str = "string") -> FieldReport:
    """A path with these values, which looks personal if there is a kind."""
    cover = Cover.OTHER if kind is None else Cover.PERSONAL
    return FieldReport(path, cover, len(marks), "", kind, value_type, 1.0, marks=frozenset(marks))


def of(namespace: str, *fields: FieldReport, **indexes: bool) -> CollectionFields:
    return CollectionFields(namespace, 9, fields, indexes=indexes)


def loaded(*found: CollectionFields) -> dict[str, dict[str, FieldClass]]:
    """The suggested policy's classes, by namespace and path."""
    policies = load_policy(first_policy(found).encode(), "suggested")
    return {
        namespace: {node.path: node.leaf for node in leaves(tree) if node.leaf is not None}
        for namespace, tree in policies.collections.items()
    }


def test_what_is_suggested_is_a_policy() -> None:
    text = suggested(
        [
            of("clinic.patients", *(personal(f"f{kind.name}", kind) for kind in Personal)),
            of("clinic.visits", personal("who.nhs", Personal.NHS_NUMBER), FieldReport("x", Cover.OTHER, 1)),
        ]
    )
    policies = load_policy(f"version: 1\n{text}".encode(), "suggested")
    tree = policies.collections["clinic.patients"]
    assert {node.path for node in tree.children.values()} == {f"f{kind.name}" for kind in Personal}
    nhs = policies.classes["nhs_number"]
    assert (nhs.mode, nhs.value_type) == (Mode.DETERMINISTIC, ValueType.STRING)
    assert policies.classes["health"].mode is Mode.RANDOM
    assert set(policies.collections) == {"clinic.patients", "clinic.visits"}


def test_fields_of_two_types_get_two_classes() -> None:
    text = suggested(
        [of("a.b", personal("x", Personal.NHS_NUMBER), personal("y", Personal.NHS_NUMBER, "long"))]
    )
    classes = load_policy(f"version: 1\n{text}".encode(), "suggested").classes
    assert {name: each.value_type for name, each in classes.items()} == {
        "nhs_number": ValueType.STRING,
        "nhs_number_long": ValueType.LONG,
    }


def test_a_type_that_no_class_has_gets_a_random_one() -> None:
    text = suggested([of("a.b", personal("x", Personal.PHONE, ""))])
    assert load_policy(f"version: 1\n{text}".encode(), "suggested").classes["phone_mixed"].mode is Mode.RANDOM


def test_a_text_gets_a_class_of_its_own() -> None:
    field = FieldReport("note", Cover.PERSONAL, 9, "", Personal.NHS_NUMBER, "string", 0.1, in_text=True)
    policies = load_policy(f"version: 1\n{suggested([of('a.b', field)])}".encode(), "suggested")
    assert {name: each.mode for name, each in policies.classes.items()} == {"free_text": Mode.RANDOM}


def test_what_no_policy_can_name_is_a_comment() -> None:
    paths = ("_id", "_id.x", "a.0.b", "a.$b", "a..b", "")
    text = suggested([of("a.b", *(personal(path, Personal.EMAIL) for path in paths))])
    assert len(text.splitlines()) == len(paths)
    assert all(line.startswith("# a.b ") for line in text.splitlines())


def test_where_nothing_is_missing_nothing_is_suggested() -> None:
    assert suggested([of("a.b", FieldReport("x", Cover.ENCRYPTED, 1, "nhs"))]) == ""
    assert first_policy([of("a.b", FieldReport("x", Cover.OTHER, 1))]) == ""
    assert first_policy([of("a.b", personal("_id", Personal.EMAIL))]) == ""


def test_an_index_makes_a_field_deterministic_in_a_class_of_its_own() -> None:
    values = range(9)
    found = of(
        "a.b",
        marked("name", Personal.NAME, *values),
        marked("carer", Personal.NAME, *values),
        marked("born", Personal.BIRTH_DATE, *values, value_type="date"),
        name=False,
        born=False,
    )
    classes = loaded(found)["a.b"]
    assert {path: each.name for path, each in classes.items()} == {
        "name": "person_name_indexed",
        "carer": "person_name",
        "born": "birth_date_indexed_date",
    }
    assert classes["name"].mode is Mode.DETERMINISTIC
    assert classes["carer"].mode is Mode.RANDOM
    assert "`range`" in suggested([found])


@pytest.mark.parametrize(
    ("kind", "is_unique", "mode"),
    [
        (Personal.POSTCODE, False, Mode.RANDOM),
        (Personal.POSTCODE, True, Mode.DETERMINISTIC),
        (Personal.HEALTH, False, Mode.RANDOM),
        (Personal.HEALTH, True, Mode.DETERMINISTIC),
    ],
)
def test_an_index_over_few_values_makes_no_field_deterministic_unless_it_is_unique(
    kind: Personal, is_unique: bool, mode: Mode
) -> None:
    repeated = FieldReport("x", Cover.PERSONAL, 100, "", kind, "string", 1.0, marks=frozenset(range(25)))
    assert loaded(of("a.b", repeated, x=is_unique))["a.b"]["x"].mode is mode


def test_fields_that_share_values_get_one_class() -> None:
    classes = loaded(
        of("a.patients", marked("mrn", Personal.PERSON_NUMBER, *range(100))),
        of(
            "a.visits",
            marked("of", None, *range(98, 300)),
            marked("passport", Personal.PERSON_NUMBER, *range(50)),
            marked("room", None, 7, *range(900, 990)),
            marked("when", None),
        ),
    )
    assert {path: each.name for path, each in classes["a.visits"].items()} == {"of": "mrn", "passport": "mrn"}
    said = suggested(
        [
            of("a.patients", marked("mrn", Personal.PERSON_NUMBER, 1, 2)),
            of("a.visits", marked("of", None, 1, 2)),
        ]
    )
    assert "shares 2 values with a.patients mrn" in said


def test_two_counters_share_numbers_by_chance() -> None:
    one = marked("mrn", Personal.PERSON_NUMBER, *range(100), value_type="long")
    assert set(loaded(of("a.b", one), of("a.c", marked("order", None, *range(81, 300))))) == {"a.b"}
    assert set(loaded(of("a.b", one), of("a.c", marked("order", None, *range(80, 300))))) == {"a.b", "a.c"}


def test_dates_are_not_joined() -> None:
    born = marked("born", Personal.BIRTH_DATE, *range(9), value_type="date")
    assert set(loaded(of("a.b", born, born=True), of("a.c", marked("at", None, *range(9))))) == {"a.b"}


def test_numbers_of_one_name_are_of_one_class_and_others_of_others() -> None:
    numbers = ("mrn", "of.patient_mrn", "passportNumber", "member.id", "1")
    classes = loaded(of("a.b", *(personal(f"x.{each}", Personal.PERSON_NUMBER) for each in numbers[:4])))
    assert {path: each.name for path, each in classes["a.b"].items()} == {
        "x.mrn": "mrn",
        "x.of.patient_mrn": "mrn",
        "x.passportNumber": "passport_number",
        "x.member.id": "member_id",
    }
    # names in a script that no class may have
    assert loaded(of("a.b", personal("číslo", Personal.PERSON_NUMBER)))["a.b"]["číslo"].name == "slo"
    assert loaded(of("a.b", personal("№", Personal.PERSON_NUMBER)))["a.b"]["№"].name == "person_number"


def test_one_of_two_paths_is_covered_where_one_contains_the_other() -> None:
    outer, inner = personal("kin", Personal.NHS_NUMBER), personal("kin.nhs", Personal.NHS_NUMBER)
    classes = loaded(of("a.b", outer, inner))["a.b"]
    assert {path: each.mode for path, each in classes.items()} == {"kin": Mode.RANDOM}
    shared = loaded(
        of("a.b", marked("nhs", Personal.NHS_NUMBER, 1, 2)),
        of("a.c", marked("x", None, 1, 2), marked("x.y", None, 1, 2)),
        of("a.d", marked("x", Personal.EMAIL, 8), marked("x.y", None, 1, 2)),
    )
    assert (set(shared["a.c"]), set(shared["a.d"])) == ({"x"}, {"x"})


@pytest.mark.parametrize(
    "name", ["no", "null", "a: b", "a #b", "- x", 'a"b', "naïve\x85", "\U0001f600", "12e"]
)
def test_names_that_yaml_would_read_as_something_else_are_quoted(name: str) -> None:
    namespace = f"a.{name}"
    assert set(loaded(of(namespace, personal(name, Personal.EMAIL)))[namespace]) == {name}


def test_a_name_does_not_end_a_comment() -> None:
    one, other = personal("x\ny: z", Personal.EMAIL), marked("x\ny: z", Personal.EMAIL, 1, 2)
    assert set(loaded(of("a.b\nc: d", other), of("a.c", one, marked("z", None, 1, 2)))) == {
        "a.b\nc: d",
        "a.c",
    }
    only = suggested([of("a.b\nc: d", personal("_id", Personal.EMAIL))])
    assert len(only.splitlines()) == 1


def test_a_namespace_that_would_be_a_pattern_is_a_comment() -> None:
    assert suggested([of("a.b*", personal("x", Personal.EMAIL))]).startswith("# a.b* ")


def test_values_of_other_types_are_told() -> None:
    one = FieldReport("x", Cover.PERSONAL, 9, "", Personal.EMAIL, "string", 0.9, other_types=1)
    assert "1 values have another type" in suggested([of("a.b", one)])


def test_a_comment_says_why_each_path_and_class_is_there() -> None:
    lines = first_policy([of("a.b", personal("x", Personal.EMAIL), x=True)]).splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("  email", "    x:")):
            assert lines[number - 1].lstrip().startswith("# ")
    assert "    # e-mail address (100% of 9 values); unique index" in lines
