"""Policy files: what is accepted, and that every complaint names its place and mostly a way out."""

from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.files.yaml_source import MAX_SOURCE_BYTES
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import (
    Link,
    LinkEnd,
    Mode,
    PathNode,
    PolicySet,
    Rotation,
    Subjects,
    ValueType,
    identifiers,
    leaves,
)
from sealwire.proxy.server.errors import read_named_file
from tests.build_context import ROOT
from tests.support.rows import rows

DESIGN = b"""\
version: 1
classes:                                   # a class is one key and one equality domain
  nhs_number:    {mode: deterministic, type: string}
  postcode:      {mode: deterministic, type: string}
  phone:         {mode: deterministic, type: string}
  date_of_birth: {mode: deterministic, type: date}
  notes:         {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs_number
    date_of_birth: date_of_birth
    address.postcode: postcode
    contacts.phone: phone
    notes: notes
  clinic.appointments:
    patient_nhs: nhs_number
  tenant_*.patients:
    nhs_number: nhs_number
"""

EXAMPLE = ROOT / "examples" / "policy.yaml"


def complaint(source: bytes) -> SourceError:
    """Why a policy does not load."""
    with pytest.raises(SourceError) as caught:
        load_policy(source, "policy.yaml")
    return caught.value


def leaf_of(node: PathNode, path: str) -> PathNode:
    """The node at a path of plain names."""
    for part in path.split("."):
        node = node.children[part.encode()]
    return node


def test_the_design_s_example_loads() -> None:
    policy = load_policy(DESIGN, "policy.yaml")
    assert policy.class_names == ("nhs_number", "postcode", "phone", "date_of_birth", "notes")
    patients = policy.covered("clinic.patients")
    assert patients is not None
    phone = leaf_of(patients, "contacts.phone")
    assert phone.path == "contacts.phone"
    assert phone.leaf == policy.classes["phone"]
    born = policy.classes["date_of_birth"]
    assert (born.mode, born.value_type) == (Mode.DETERMINISTIC, ValueType.DATE)
    assert policy.classes["notes"].value_type is None
    assert policy.covered("tenant_9.patients") is not None
    assert policy.covered("clinic.wards") is None


def test_the_committed_example_loads() -> None:
    assert load_policy(EXAMPLE.read_bytes(), "policy.yaml").covered("clinic.patients") is not None


def policy_with(classes: str = "{mode: random}", path: str = "x: a", namespace: str = "clinic.x") -> bytes:
    """A policy of three lines of interest: 2 the class `a`, 4 the namespace, 5 the path."""
    return f"version: 1\nclasses: {{a: {classes}}}\ncollections:\n  {namespace}:\n    {path}\n".encode()


@pytest.mark.parametrize("path", ["x", "a.b.c", "_x", '"a b"', "a-b", "é", "a1", "1a", ".".join("a" * 32)])
def test_paths_of_field_names_are_accepted(path: str) -> None:
    assert load_policy(policy_with(path=f"{path}: a"), "p").covered("clinic.x") is not None


@rows(
    "source, line, column, hinted",
    (b"classes: {}\ncollections: {}\n", 1, 1, True),
    (b"version: 2\nclasses: {a: {mode: random}}\ncollections: {}\n", 1, 10, True),
    (b"version: true\nclasses: {a: {mode: random}}\ncollections: {}\n", 1, 10, True),
    (b"version: 1\nclasses: {}\ncollections: {}\n", 2, 10, True),
    (b"version: 1\nclass: {}\ncollections: {}\n", 2, 1, True),
    (b"- 1\n", 1, 1, True),
    (policy_with("{mode: secret}"), 2, 21, True),
    (policy_with("{mode: randon}"), 2, 21, True),
    (policy_with("{}"), 2, 14, True),
    (policy_with("deterministic"), 2, 14, True),
    (policy_with("{mode: deterministic}"), 2, 14, True),
    (policy_with("{mode: deterministic, type: decimal}"), 2, 42, True),
    (policy_with("{mode: deterministic, type: object}"), 2, 42, True),
    (policy_with("{mode: random, type: string}"), 2, 35, True),
    (policy_with("{mode: random, rotate: weekly}"), 2, 37, True),
    (policy_with("{mode: random, rotate: 90}"), 2, 37, True),
    (policy_with("{mode: random, range: {}}"), 2, 36, True),
    (b"version: 1\nclasses: {1a: {mode: random}}\ncollections: {}\n", 2, 15, True),
    (b"version: 1\nclasses: {" + b"a" * 64 + b": {mode: random}}\ncollections: {}\n", 2, 77, True),
    *((policy_with(namespace=name), 5, 5, True) for name in ("clinic", "clinic.", ".x", "'.'")),
    *((policy_with(namespace=f"'{name}'"), 5, 5, True) for name in ("c.x?", "c.[x]", "c[a].*")),
    *((policy_with(namespace=name), 5, 5, True) for name in ("admin.x", "config.x", "local.x", "c.system.x")),
    (policy_with(path="x: b"), 5, 8, True),
    (policy_with(path="x: 5"), 5, 8, True),
    (policy_with(path="x: [a]"), 5, 8, True),
    (policy_with(path="x: {y: a}"), 5, 8, True),
    (policy_with(path="{}"), 5, 5, True),
    (policy_with(path="x..y: a"), 5, 11, True),
    (policy_with(path=".x: a"), 5, 9, True),
    (policy_with(path="x.: a"), 5, 9, True),
    (policy_with(path="$x: a"), 5, 9, True),
    (policy_with(path="x.$[].y: a"), 5, 14, True),
    (policy_with(path="x.0.y: a"), 5, 12, True),
    (policy_with(path="'0': a"), 5, 10, True),
    (policy_with(path='"x\\0y": a'), 5, 13, True),
    (policy_with(path='"\\ud800": a'), 5, 15, True),
    (policy_with(path="_id: a"), 5, 10, True),
    (policy_with(path="_id.x: a"), 5, 12, True),
    (policy_with(path=".".join("a" * 33) + ": a"), 5, 72, True),
    (policy_with(path="x: a\n    x: a"), 6, 5, True),
    (policy_with(path="x: a\n    x.y: a"), 6, 10, True),
    (policy_with(path="x.y.z: a\n    x.y: a"), 5, 12, True),
    (policy_with() + b"  clinic.x: {y: a}\n", 6, 3, True),
)
def test_every_complaint_names_its_place(source: bytes, line: int, column: int, hinted: bool) -> None:
    error = complaint(source)
    assert (error.filename, error.line, error.column) == ("policy.yaml", line, column)
    assert bool(error.hint) is hinted
    assert "\n" not in str(error)


RIGHT = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  born: {mode: deterministic, type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}
  notes: {mode: random, key: {per: $database}}
collections:
  clinic.patients: {nhs_number: nhs, born: born, notes: notes}
  clinic.letters: {text: notes}
plain: [clinic.wards]
subjects:
  class: nhs
  links: {clinic.letters.patient: clinic.patients.number, clinic.bills.letter: clinic.letters.number}
roles:
  clerk: {users: [a@b], classes: {nhs: {read: clear}, "*": {read: denied}}}
"""


@rows(
    "right, mistake",
    ("classes:\n  nhs", "klasses:\n  nhs"),
    ("collections:", "colections:"),
    ("subjects:", "subject:"),
    ("roles:", "role:"),
    ("nhs: {mode: deterministic, type", "nhs: {mode: determinist, type"),
    ("nhs: {mode: deterministic, type", "nhs: {mod: deterministic, type"),
    ("type: string", "tipe: string"),
    ("type: string", "type: strin"),
    ("{mode: deterministic, type: string}", "7"),
    ("unit: day", "unit: week"),
    ("unit: day", "unti: day"),
    ("to: 2100-01-01", "to: 5"),
    ("$database", "a..b"),
    ("nhs_number: nhs", "nhs_number: nsh"),
    ("nhs_number: nhs", "$nhs_number: nhs"),
    ("text: notes", "text: nots"),
    ("clinic.letters: {", "clinicletters: {"),
    ("  class: nhs", "  class: nsh"),
    ("  class: nhs", "  clas: nhs"),
    ("  class: nhs", "  class: notes"),
    ("clinic.patients.number", "clinic"),
    ("clinic.patients.number", "clinic.patients.born"),
    ("users: [a@b]", "user: [a@b]"),
    ("users: [a@b]", "users: [a]"),
    ("classes: {nhs: {read", "class: {nhs: {read"),
    ("read: clear", "reed: clear"),
    ("read: clear", "read: cleer"),
)
def test_one_mistake_is_one_complaint(right: str, mistake: str) -> None:
    assert load_policy(RIGHT.encode(), "p.yaml").subjects is not None
    assert RIGHT.count(right) == 1
    caught = complaint(RIGHT.replace(right, mistake).encode())
    assert caught.others == ()
    assert caught.hint


def test_two_mistakes_in_one_place_are_two_complaints() -> None:
    caught = complaint(RIGHT.replace("type: string", "typ: string, colour: red").encode())
    assert len(caught.others) == 1


@pytest.mark.parametrize("classes", ["classes: {}", "classes: 5", "classes: []"])
def test_without_classes_no_name_of_one_is_judged(classes: str) -> None:
    head, _, rest = RIGHT.partition("classes:\n")
    source = f"{head}{classes}\ncollections:{rest.partition('collections:')[2]}"
    caught = complaint(source.encode())
    assert (caught.line, caught.others) == (2, ())


def test_the_policy_of_the_design_loads_with_its_range() -> None:
    source = DESIGN.replace(
        b"type: date}", b"type: date, range: {unit: day, from: 1900-01-01, to: 2100-01-01}}"
    )
    domain = load_policy(source, "policy.yaml").classes["date_of_birth"].domain
    assert domain is not None
    assert domain.high - domain.low == 73_049


class TestPlainAndAllowed:
    """`plain` and `allow_commands`, which say what is not protected."""

    def test_both_are_read(self) -> None:
        policy = load_policy(
            DESIGN + b'plain: [clinic.wards, "log_*.*"]\nallow_commands: [shinyNewCommand]\n', "p.yaml"
        )

        assert policy.is_plain("clinic.wards")
        assert policy.is_plain("log_1.entries")
        assert not policy.is_plain("clinic.beds")
        assert policy.allowed_commands == {b"shinyNewCommand"}

    @rows(
        "line",
        b"plain: clinic.wards",
        b"plain: [clinic]",
        b"plain: [clinic.patients]",
        b"plain: [admin.system.users]",
        b"allow_commands: [1]",
        b'allow_commands: ["find things"]',
    )
    def test_what_is_neither_is_refused_with_its_place(self, line: bytes) -> None:
        caught = complaint(DESIGN + line + b"\n")

        assert caught.line == DESIGN.count(b"\n") + 1


def keyed_by(per: str) -> str:
    """A class with a key for each value of something."""
    return "{mode: random, key: {per: " + per + "}}"


class TestContexts:
    """Classes with a key for each context."""

    @pytest.mark.parametrize("per", ["tenant", "owner.id", "_id", "$database", "./patient", "./a.b"])
    def test_what_keys_depend_on_is_read(self, per: str) -> None:
        source = policy_with(keyed_by(f'"{per}"'))
        assert load_policy(source, "policy.yaml").classes["a"].per == per.encode()
        assert load_policy(source, "policy.yaml").has_contexts

    def test_without_any_there_is_one_key(self) -> None:
        policy = load_policy(policy_with(), "policy.yaml")
        assert policy.classes["a"].per is None
        assert not policy.has_contexts

    @rows("per", "", "a..b", "$other", "a.0", "$database.x", "./", "./.", "../a", "./$database", "././a")
    def test_what_is_no_path_is_refused(self, per: str) -> None:
        with pytest.raises(SourceError):
            load_policy(policy_with(keyed_by(f'"{per}"')), "policy.yaml")

    @rows(
        "per, path",
        *(("x", "x"), ("x", "x.y"), ("x.y", "x"), ("x.y", "x.y")),
        *(("./y", "x.y"), ("./y", "y"), ("./y.z", "x.y")),
    )
    def test_the_field_must_be_in_clear(self, per: str, path: str) -> None:
        source = policy_with(keyed_by(per), path=f"{path}: a")
        caught = complaint(source)
        assert caught.hint

    def test_a_class_with_a_range_has_one_key(self) -> None:
        classes = "{mode: deterministic, type: int, range: {from: 1, to: 2}, key: {per: tenant}}"
        with pytest.raises(SourceError):
            load_policy(policy_with(classes), "policy.yaml")


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_lines() -> None:
    text = """\
version: 2
classes:
  name: {mode: deterministic}
  notes: {mode: randm}
  good: {mode: random}
collections:
  clinic.patients:
    name: name
    notes.$x: good
    other: god
  clinic: {a: good}
  clinic.visits: {notes: notes, text: good}
plain: [visits]
"""
    error = complaint(text.encode())
    assert [each.line for each in (error, *error.others)] == [1, 3, 4, 9, 10, 11, 13]
    assert all(each.hint and not each.others for each in error.others)


def test_a_class_that_is_wrong_is_one_complaint_wherever_it_is_used() -> None:
    text = "version: 1\nclasses: {a: {mode: randm}}\ncollections: {d.c: {x: a, y: a}}\n"
    assert complaint(text.encode()).others == ()


def test_roles_and_subjects_are_read_once_classes_and_paths_are_right_and_both_are_said() -> None:
    text = """\
version: 1
classes: {a: {mode: random}}
collections: {d.c: {x: a}}
subjects: {class: b}
roles: 7
"""
    caught = complaint(text.encode())
    assert [each.line for each in (caught, *caught.others)] == [4, 5]


@pytest.mark.parametrize(("word", "days"), [("monthly", 30), ("quarterly", 90), ("yearly", 365)])
@pytest.mark.parametrize("mode", ["mode: random", "mode: deterministic, type: string"])
def test_a_class_says_how_often_it_gets_a_new_key(mode: str, word: str, days: int) -> None:
    found = load_policy(policy_with(f"{{{mode}, rotate: {word}}}"), "p").classes["a"]
    assert found.rotation is Rotation(word)
    assert found.rotation.every == timedelta(days=days)
    plain = load_policy(policy_with(f"{{{mode}}}"), "p").classes["a"]
    assert plain.rotation is None
    assert plain == found  # what encrypts is the same


# --------------------------------------------------------------------------------------- the section subjects

POLICY = """version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs: nhs, proxy.nhs: nhs, notes: notes}
  clinic.visits: {notes: notes}
  clinic.lab.results: {notes: notes}
"""

LINE = POLICY.count("\n") + 1


def read(section: str) -> PolicySet:
    return load_policy((POLICY + section).encode(), "policy.yaml")


def test_a_policy_without_the_section_says_nothing_of_subjects() -> None:
    assert read("").subjects is None


def test_every_path_of_the_class_is_an_identifier() -> None:
    policy = read("subjects: {class: nhs}\n")
    assert policy.subjects == Subjects("nhs")
    assert identifiers(policy.subjects, policy.collections["clinic.patients"]) == ("nhs", "proxy.nhs")
    assert identifiers(policy.subjects, policy.collections["clinic.visits"]) == ()


def test_links_lead_to_an_identifier_directly_or_by_another_link() -> None:
    policy = read("""subjects:
  class: nhs
  links:
    clinic.visits.patient.id: clinic.patients._id
    clinic.lab.results.visit: clinic.visits._id
    clinic.bills.visit: clinic.visits.number
""")
    assert policy.subjects is not None
    assert policy.subjects.links == (
        Link(LinkEnd("clinic.visits", "patient.id"), LinkEnd("clinic.patients", "_id")),
        Link(LinkEnd("clinic.lab.results", "visit"), LinkEnd("clinic.visits", "_id")),
        Link(LinkEnd("clinic.bills", "visit"), LinkEnd("clinic.visits", "number")),
    )


def test_a_colon_ends_the_name_of_a_collection_with_dots() -> None:
    policy = read("""subjects:
  class: nhs
  links:
    clinic.fs.files:metadata.patient_id: clinic.patients:_id
    clinic.fs.chunks:files_id: clinic.fs.files:_id
    clinic.scans:files.patient_id: clinic.patients._id
""")
    assert policy.subjects is not None
    assert [str(each.source) for each in policy.subjects.links] == [
        "clinic.fs.files.metadata.patient_id",
        "clinic.fs.chunks.files_id",
        "clinic.scans.files.patient_id",
    ]
    assert [each.source.namespace for each in policy.subjects.links] == [
        "clinic.fs.files",
        "clinic.fs.chunks",
        "clinic.scans",
    ]


@rows(
    "section",
    "{class: nhs, links: {clinic.fs.files.metadata.patient_id: clinic.patients._id}}",
    "{class: nhs, links: {'clinic.fs.files:': clinic.patients._id}}",
    "{class: nhs, links: {'clinic:fs.files': clinic.patients._id}}",
    "{class: nobody}",
    "{class: notes}",
    "{links: {}}",
    "{class: nhs, links: {clinic.visits.p: clinic.elsewhere._id}}",
    "{class: nhs, links: {clinic.visits.p: clinic.visits.q}}",
    "{class: nhs, links: {clinic.a.x: clinic.b.x, clinic.b.x: clinic.a.x}}",
    "{class: nhs, links: {clinic.visits.p: clinic.patients._id, clinic.visits.q: clinic.patients.n}}",
    "{class: nhs, links: {clinic.visits.notes: clinic.patients._id}}",
    "{class: nhs, links: {clinic.visits.notes.part: clinic.patients._id}}",
    "{class: nhs, links: {clinic.visits.p: clinic.patients.proxy}}",
    "{class: nhs, links: {clinic.visits: clinic.patients._id}}",
    "{class: nhs, links: {clinic.visits.p: clinic.patients}}",
    "{class: nhs, links: {clinic.visits.0: clinic.patients._id}}",
    "{class: nhs, links: {clinic.visits.$p: clinic.patients._id}}",
    "{class: nhs, links: {'clinic.*.p': clinic.patients._id}}",
    "{class: nhs, links: {admin.visits.p: clinic.patients._id}}",
)
def test_what_leads_nowhere_is_refused_with_its_place(section: str) -> None:
    with pytest.raises(SourceError) as refused:
        read(f"subjects: {section}\n")
    assert refused.value.line == LINE


# ----------------------------------------------------------------------------------------------------- limits

PATHS = 5_000


def test_many_paths_below_different_parents_make_one_tree() -> None:
    lines = [f"    parent{number}.child.leaf: c" for number in range(PATHS)]
    head = "version: 1\nclasses:\n  c: {mode: random}\ncollections:\n  a.b:\n"
    tree = load_policy((head + "\n".join(lines)).encode(), "policy.yaml").collections["a.b"]
    assert (tree.size, tree.depth) == (1 + 3 * PATHS, 3)
    assert [leaf.path for leaf in leaves(tree)] == [f"parent{number}.child.leaf" for number in range(PATHS)]


def test_paths_of_one_parent_stay_together_in_the_order_of_the_file() -> None:
    head = "version: 1\nclasses:\n  c: {mode: random}\ncollections:\n  a.b:\n"
    text = head + "    x.b: c\n    y: c\n    x.a.d: c\n    x.a.c: c\n"
    tree = load_policy(text.encode(), "policy.yaml").collections["a.b"]
    assert [leaf.path for leaf in leaves(tree)] == ["x.b", "x.a.d", "x.a.c", "y"]


def test_a_file_without_end_is_read_no_further_than_the_parser_takes() -> None:
    assert len(read_named_file(Path("/dev/zero"), "the policy")) == MAX_SOURCE_BYTES + 1


# ------------------------------------------------------------------------------------------ only observed


def test_a_whole_policy_or_some_of_its_collections_are_observed() -> None:
    every = {"clinic.patients", "clinic.appointments", "tenant_*.patients"}
    assert load_policy(DESIGN, "p").observed == frozenset()
    assert load_policy(DESIGN + b"mode: protect\n", "p").observed == frozenset()
    assert load_policy(DESIGN + b"mode: observe\n", "p").observed == every
    some = load_policy(DESIGN + b'observe: [clinic.patients, "tenant_*.patients"]\n', "p")
    assert some.observed == every - {"clinic.appointments"}
    assert load_policy(DESIGN + b"mode: observe\nobserve: [clinic.patients]\n", "p").observed == every


@rows(
    "text, hint",
    (b"mode: observ\n", "observe"),
    (b"mode: true\n", "quotes"),
    (b"observe: [clinic.patient]\n", "clinic.patients"),
    (b"observe: [tenant_1.patients]\n", "tenant_*.patients"),
    (b"observe: clinic.patients\n", ""),
)
def test_a_mode_or_name_that_is_misspelt_is_an_error(text: bytes, hint: str) -> None:
    caught = complaint(DESIGN + text)
    assert hint in caught.hint
