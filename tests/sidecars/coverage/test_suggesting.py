"""The lines that a policy lacks, which a policy's reader takes."""

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import Mode, ValueType
from sealwire.sidecars.coverage.fields import Cover, FieldReport
from sealwire.sidecars.coverage.likely import Personal
from sealwire.sidecars.coverage.reading import CollectionFields
from sealwire.sidecars.coverage.suggesting import suggested


def personal(path: str, kind: Personal, value_type: str = "string") -> FieldReport:
    return FieldReport(path, Cover.PERSONAL, 9, "", kind, value_type, 1.0)


def of(namespace: str, *fields: FieldReport) -> CollectionFields:
    return CollectionFields(namespace, 9, fields)


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
    assert load_policy(f"version: 1\n{text}".encode(), "suggested").classes["phone"].mode is Mode.RANDOM


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
