"""What is suggested for fields that look personal: it is a policy, and says why."""

from datetime import datetime
from typing import Any

import pytest

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import FieldClass, Mode, ValueType, leaves
from sealwire.sidecars.coverage import likely
from sealwire.sidecars.coverage.fields import (
    CollectionFields,
    Cover,
    FieldCounts,
    FieldReport,
    first_policy,
    suggested,
)
from sealwire.sidecars.coverage.likely import (
    MAX_SEARCHED,
    MAX_TEXT,
    Personal,
    held_in,
    looks_of,
    require_libraries,
)
from sealwire.sidecars.errors import CoverageReason, Unavailable
from tests.build_context import ROOT
from tests.sidecars.coverage import trust
from tests.sidecars.coverage.labelled import (
    HOSPITAL,
    HOSPITAL_OTHER,
    INSURER,
    INSURER_OTHER,
    OTHER,
    PERSONAL,
    documents,
    documents_of_fields,
)
from tests.sidecars.coverage.trust import documents_of_trust


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


# What values look like, and how often a labelled set of fields is judged rightly.


PAGE = ROOT / "docs" / "operations" / "coverage.md"
SEEDS = range(5)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("943 476 5919", Personal.NHS_NUMBER),
        (9434765919, Personal.NHS_NUMBER),
        ("ann@nhs.net", Personal.EMAIL),
        ("AB123456C", Personal.NATIONAL_INSURANCE),
        ("GB33BUKB20201555555555", Personal.IBAN),
        ("4111 1111 1111 1111", Personal.CARD),
        ("+44 7400 123456", Personal.PHONE),
        (" SW1A 1AA ", Personal.POSTCODE),
        ("::1", Personal.IP_ADDRESS),
        ("44051401359", Personal.NATIONAL_NUMBER),
        ("440514-01359", Personal.NATIONAL_NUMBER),
        ("756.9217.0769.85", Personal.NATIONAL_NUMBER),
        ("RCCMNL83S18D969H", Personal.NATIONAL_NUMBER),
        ("E11.9", Personal.HEALTH),
        ("22298006", Personal.HEALTH),
        (22298006, Personal.HEALTH),
        ("Anna Kowalska", Personal.NAME),
        ("Smith, Mary-Jane", Personal.NAME),
        ("Chloé", Personal.NAME),
    ],
)
def test_identifiers_are_known_by_themselves(value: Any, kind: Personal) -> None:
    assert kind in looks_of(value, "x")


@pytest.mark.parametrize(
    "value",
    [
        *("943 476 5918", "9434765918", "4111 1111 1111 1112", "GB33BUKB20201555555556", "12345", ""),
        *("ann@", "@nhs.net", "ann at nhs.net", "BG123456C", "SW1A1A", "1.2.3", "07400", 943, True, None),
        *("44051401358", "756.9217.0769.86", "22298007", "22298106", "E11", "e11.9", "1.10.2"),
        *("anna kowalska", "Cardiology", "Anna ward", "Household Plus", "Anna " * 6, "Anna " + "B" * 60),
        *(1.5, b"943 476 5919", "x" * (MAX_TEXT + 1), ["943 476 5919"], {"a": 1}, "١٢٣٤٥٦٧٨٩٠"),
    ],
)
def test_what_is_none_looks_like_nothing(value: Any) -> None:
    assert looks_of(value, "x") == []


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("dateOfBirth", datetime(1950, 1, 1), Personal.BIRTH_DATE),
        ("DOB", "01/02/1950", Personal.BIRTH_DATE),
        ("last_name", "O'Neill", Personal.NAME),
        ("homeAddress", "1 High Street", Personal.ADDRESS),
        ("diagnoses", "asthma", Personal.HEALTH),
        ("diagnosis.code", "I10", Personal.HEALTH),
        ("religion", "none", Personal.SPECIAL),
        ("ethnicGroup", "Romani", Personal.SPECIAL),
        ("tradeUnionMember", "yes", Personal.SPECIAL),
        ("MRN", "WAW-0048812", Personal.PERSON_NUMBER),
        ("passportNo", "X1234567", Personal.PERSON_NUMBER),
        ("address.zip", "8001", Personal.ADDRESS),
        ("maritalStatus", "single", Personal.TRAIT),
        ("Straße", "Langstraße", Personal.ADDRESS),
        ("tel", "603444555", Personal.PHONE),
    ],
)
def test_others_are_known_by_the_name_of_their_field(name: str, value: Any, kind: Personal) -> None:
    assert looks_of(value, name) == [kind]
    assert looks_of(value, "x") == []
    assert looks_of(7, name) == []


@pytest.mark.parametrize("name", ["religious", "hivStatus"])
def test_a_yes_or_no_can_be_a_special_category(name: str) -> None:
    assert looks_of(True, name) != []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("archive", "x"),
        ("environmental", "x"),
        ("diagnostics", "on"),
        ("disabled", True),
        ("trace", "a"),
        ("ip_address", "x"),
        ("macAddress", "aa:bb"),
        ("address.type", "home"),
        ("address", "127.0.0.1:27017"),
        ("address", "db.example:27017"),
        ("patient_id", "5f0e9d1c2b3a495867abcdef"),
        ("patient_id", "none"),
        ("policy", "a"),
    ],
)
def test_names_that_contain_such_a_word_say_nothing(name: str, value: Any) -> None:
    assert looks_of(value, name) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("NHS No. 943 476 5919, seen today.", Personal.NHS_NUMBER),
        ('{"nhs":"9434765919"}', Personal.NHS_NUMBER),
        ("Write to ann.smith@nhs.example, please", Personal.EMAIL),
        ("lives in LS9 7TF with mother", Personal.POSTCODE),
        ("NI AB123456C given", Personal.NATIONAL_INSURANCE),
        ("pay GB33 BUKB 2020 1555 5555 55 now", Personal.IBAN),
        ("card 4111 1111 1111 1111 declined", Personal.CARD),
        ("call 07400 123456 or +49 30 901820", Personal.PHONE),
        ("PESEL 44051401359, admitted", Personal.NATIONAL_NUMBER),
        ("AHV 756.9217.0769.85.", Personal.NATIONAL_NUMBER),
        ("moved to 12a Old Mill Lane, York", Personal.ADDRESS),
        ("wohnt Bahnhofstrasse 12, 8001 Bern", Personal.ADDRESS),
        ("Via Giuseppe Verdi 3, Milano", Personal.ADDRESS),
    ],
)
def test_identifiers_are_found_inside_texts(text: str, kind: Personal) -> None:
    assert held_in(text).get(kind) is True
    assert held_in(f"{text} " * 400).get(kind) is True


@pytest.mark.parametrize(
    "text",
    [
        *(
            "the ward is closed until 2026-02-01 10:00:00",
            "version 1.2.3.4 of the pump",
            "943 476 5919",
            "short",
        ),
        *(
            "12345678-1234-4123-8123-943476591900",
            "https://host.example/9434765919/a",
            "9434765919b is a hash",
        ),
        *("see chapter E11 9 of the terms", 7, None, b"NHS No. 943 476 5919", "meet @noon in room a@b"),
    ],
)
def test_a_text_without_any_contains_nothing(text: Any) -> None:
    assert held_in(text) == {}


def test_a_number_with_wrong_check_digits_is_told_from_none() -> None:
    assert held_in("order 943 476 5918 left")[Personal.NHS_NUMBER] is False
    assert Personal.NHS_NUMBER not in held_in("an order has left today")


def test_a_text_is_searched_to_a_length() -> None:
    inside, outside = ("x " * ((MAX_SEARCHED - room) // 2) + "ann@nhs.example" for room in (16, 8))
    assert held_in(inside) == {Personal.EMAIL: True}
    assert held_in(outside) == {}


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    likely._library.cache_clear()
    monkeypatch.setattr(likely, "import_module", missing)
    try:
        with pytest.raises(Unavailable) as caught:
            require_libraries()
    finally:
        likely._library.cache_clear()
    assert caught.value.reason is CoverageReason.EXTRA
    assert "requirements/demo.txt" in caught.value.hint


def judged() -> tuple[int, int, int, list[str]]:
    """How many personal fields were found, of how many, and how many others were; what was wrong."""
    found = wrong = 0
    problems: set[str] = set()
    for seed in SEEDS:
        fields = FieldCounts(None)
        for document in documents(seed):
            fields.read(document)
        kinds = {each.path: each.kind for each in fields.report() if each.cover is Cover.PERSONAL}
        for path, (kind, _) in PERSONAL.items():
            if kinds.get(path) is kind:
                found += 1
            else:
                problems.add(f"{path}: {kinds.get(path)}")
        for path in OTHER:
            if path in kinds:
                wrong += 1
                problems.add(f"{path}: {kinds[path]}")
    return found, len(PERSONAL) * len(SEEDS), wrong, sorted(problems)


def test_precision_and_recall_are_those_of_the_docs() -> None:
    found, personal, wrong, problems = judged()
    precision, recall = found / (found + wrong), found / personal
    assert (precision, recall) > (0.95, 0.9), problems
    said = f"| {precision:.2f} | {recall:.2f} |"
    assert said in PAGE.read_text(encoding="utf-8"), problems


FOREIGN: dict[str, tuple[list[dict[str, Any]], set[str], float]] = {
    "hospital": (list(documents_of_fields({**HOSPITAL, **HOSPITAL_OTHER})), set(HOSPITAL), 0.9),
    "insurer": (list(documents_of_fields({**INSURER, **INSURER_OTHER})), set(INSURER), 0.8),
    "trust": (list(documents_of_trust(4711)), set(trust.PERSONAL), 0.75),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_sets_are_judged_as_well_as_the_docs_say(name: str) -> None:
    stored, personal, least_recall = FOREIGN[name]
    fields = FieldCounts(None)
    for document in stored:
        fields.read(document)
    found = {each.path for each in fields.report() if each.cover is Cover.PERSONAL}
    precision, recall = len(found & personal) / len(found), len(found & personal) / len(personal)
    assert precision >= 0.95, sorted(found - personal)
    assert recall >= least_recall, sorted(personal - found)
    assert f"| {precision:.2f} | {recall:.2f} |" in PAGE.read_text(encoding="utf-8")
