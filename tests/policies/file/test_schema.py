"""The policy's types: namespaces, patterns, and what a tree of covered paths knows of itself."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import (
    NOTHING,
    FieldClass,
    Link,
    LinkEnd,
    Mode,
    PathNode,
    PolicySet,
    Subjects,
    ValueType,
    belongs_to_server,
    bounded,
    follow,
    is_below_scalars,
    is_transparent,
    matches,
)
from tests.bson_types import BsonType
from tests.policies.support import POLICY, Shape, node, shown
from tests.support.reasons import raising
from tests.support.rows import rows

HEAD = b"version: 1\nclasses: {a: {mode: random}, b: {mode: deterministic, type: int}}\ncollections:\n"


@rows(
    "pattern, namespace, expected",
    ("tenant_*.patients", "tenant_7.patients", True),
    ("tenant_*.patients", "tenant_.patients", True),
    ("tenant_*.patients", "tenant_7.patients.old", False),
    ("tenant_*.patients", "tenant_7.x.patients", False),
    ("tenant_*.patients", "Tenant_7.patients", False),
    ("clinic.*", "clinic.a.b", True),
    ("clinic.log_*", "clinic.log_", True),
    ("*.patients", "clinic.patients", True),
    ("*.*", "a.b", True),
    ("*.patients", "admin.patients", False),
    ("*.*", "config.settings", False),
    ("*.*", "local.oplog.rs", False),
    ("clinic.*", "clinic.system.views", False),
)
def test_a_star_stays_within_its_part_and_spares_the_servers_collections(
    pattern: str, namespace: str, expected: bool
) -> None:
    assert matches(pattern, namespace) is expected
    policy = load_policy(HEAD + b"  '%b': {x: a}\n" % pattern.encode(), "p")
    for _ in range(2):
        assert (policy.covered(namespace) is not None) is expected


def test_an_exact_name_goes_before_patterns_and_these_by_their_order() -> None:
    policy = load_policy(HEAD + b"  'a*.x': {first: a}\n  '*.x': {second: a}\n  ab.x: {exact: a}\n", "p")
    assert [
        [*found.children] if (found := policy.covered(name)) else None
        for name in ("ab.x", "ac.x", "b.x", "b.y")
    ] == [[b"exact"], [b"first"], [b"second"], None]


def test_the_memory_of_namespaces_is_bounded() -> None:
    policy = load_policy(HEAD + b"  'a*.x': {first: a}\n", "p")
    for number in range(10_000):
        policy.covered(f"b{number}.x")
    assert len(policy._remembered) <= 4096
    assert policy.covered("a1.x") is not None
    policy._remembered.clear()
    for number in range(4096):
        policy.covered(f"b{number}.x")
    assert len(policy._remembered) == 4096
    policy.covered("b.x")
    assert len(policy._remembered) == 1


def test_a_name_that_no_server_has_is_not_remembered() -> None:
    policy = load_policy(HEAD + b"  'a*.x': {first: a}\n", "p")
    assert policy.covered(f"a{'a' * 1000}.x") is not None
    assert policy.covered(f"b{'b' * 1000}.x") is None
    assert not policy._remembered


def test_a_policy_knows_its_databases() -> None:
    policy = load_policy(HEAD + b"  'tenant_*.x': {f: a}\n  clinic.y: {f: b}\n", "p")
    assert [policy.protects_database(name) for name in ("tenant_1", "clinic", "other")] == [True, True, False]
    assert policy.protects_anything
    assert policy.class_names == ("a", "b")


def test_value_types_have_the_bson_type_of_their_name() -> None:
    expected = {
        *{
            ("string", BsonType.STRING),
            ("int", BsonType.INT),
            ("long", BsonType.LONG),
            ("bool", BsonType.BOOL),
        },
        *{("double", BsonType.DOUBLE), ("date", BsonType.DATE), ("objectId", BsonType.OBJECT_ID)},
        ("binData", BsonType.BIN_DATA),
    }
    assert {(kind.value, kind.kind) for kind in ValueType} == expected


@rows(
    "namespace, is_named",
    ("clinic.y", True),
    ("tenant_1.x", True),
    ("other.x", False),
    ("tenant_1.y", False),
    ("clinic.z", False),
    ("log.y", False),
)
def test_a_policy_names_a_collection_if_not_its_database(namespace: str, is_named: bool) -> None:
    policy = load_policy(HEAD + b"  'tenant_*.x': {f: a}\n  clinic.y: {f: b}\n  'log.*': {f: a}\n", "p")
    assert policy.names(namespace) is is_named


def test_what_is_in_reach_of_a_database() -> None:
    policy = load_policy(HEAD + b"  'tenant_*.x': {f: a}\n  clinic.y: {g: b}\n", "p")
    for database, names in ((None, [b"g", b"f"]), ("clinic", [b"g"]), ("tenant_5", [b"f"]), ("other", [])):
        assert [name for node in policy.in_reach(database) for name in node.children] == names
    assert policy.collection_names == {b"y"}
    assert not PolicySet({}, {}).protects_anything
    assert PolicySet({}, {"a.b": NOTHING}).protects_anything
    assert PolicySet({}, {}, (("a.*", NOTHING),)).protects_anything


@rows(
    "database, collection, expected",
    *((database, "x", True) for database in ("admin", "config", "local")),
    *(("clinic", name, True) for name in ("system.views", "system.")),
    *(("clinic", name, False) for name in ("x", "system", "a.system.b")),
    ("administration", "x", False),
)
def test_what_belongs_to_the_server(database: str, collection: str, expected: bool) -> None:
    assert belongs_to_server(f"{database}.{collection}") is expected


@rows(
    "field_class, kind, stored",
    (FieldClass("r", Mode.RANDOM, None), 0, set()),
    (FieldClass("s", Mode.DETERMINISTIC, ValueType.STRING), 2, {2}),
    (FieldClass("d", Mode.DETERMINISTIC, ValueType.DOUBLE), 1, set()),
    (FieldClass("b", Mode.DETERMINISTIC, ValueType.BIN_DATA), 5, set()),
    (FieldClass("o", Mode.DETERMINISTIC, ValueType.OBJECT_ID), 7, {7}),
    (FieldClass("t", Mode.DETERMINISTIC, ValueType.BOOL), 8, {8}),
    (FieldClass("d", Mode.DETERMINISTIC, ValueType.DATE), 9, {9}),
    (FieldClass("i", Mode.DETERMINISTIC, ValueType.INT), 16, {16}),
    (FieldClass("l", Mode.DETERMINISTIC, ValueType.LONG), 18, {18}),
)
def test_values_of_a_type_with_one_encoding_are_stored_as_they_are(
    field_class: FieldClass, kind: int, stored: set[int]
) -> None:
    assert field_class.kind == kind
    assert {each for each in range(256) if field_class.stores(each)} == stored


LEAVES = st.sampled_from(["k", "l", "r", "?", "", "-k", "-r", "-?", ">k", ">"])


def _branches(children: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    names = st.sampled_from(["a", "b", "c", "-", ">", "|"])
    return st.dictionaries(names, children, min_size=1)


@given(st.recursive(LEAVES, _branches, max_leaves=20))
def test_what_a_tree_counts_is_what_a_walk_finds(shape: Shape) -> None:
    def walk(node: PathNode, depth: int) -> list[tuple[PathNode, int]]:
        return [(node, depth), *(pair for child in node.children.values() for pair in walk(child, depth + 1))]

    def is_random(node: PathNode) -> bool:
        if node.absent:
            return False
        if node.leaf is not None:
            return node.leaf.mode is Mode.RANDOM
        return node.opaque or any(map(is_random, node.children.values()))

    def covers(node: PathNode) -> bool:
        behind = node.behind_number is not None and covers(node.behind_number)
        return node.leaf is not None or node.opaque or behind or any(map(covers, node.children.values()))

    tree = node(shape)
    found = walk(tree, 0)
    assert tree.size == len(found)
    assert tree.depth == max(depth for _, depth in found)
    assert tree.holds_random == is_random(tree)
    assert tree.covers == covers(tree)
    assert tree.reshaped == any(each.behind_number is not None for each, _ in found)
    assert tree.rearranged == any(each.moved for each, _ in found)
    assert tree.is_gone == (tree.absent and not tree.opaque)
    assert tree.is_doubtful == (tree.absent and tree.opaque)


def test_a_tree_that_was_changed_has_what_it_was_behind_a_number() -> None:
    before = node({"a": "k", "-": ""})
    after = before.changed({b"b": node("l")})
    assert shown(after) == "{b:l}|-{a:k}"
    assert shown(after.changed({})) == "|-{a:k}"
    assert shown(node("-?").changed({})) == "-?|-?"
    assert (after.child(b"b"), after.child(b"a")) == (node("l"), None)


def test_a_node_shows_what_it_was_given_and_not_what_was_counted_of_it() -> None:
    shown = "path='a', children=mappingproxy({}), leaf=None, opaque=False, behind_number=None, absent=False"
    assert repr(PathNode("a")) == f"PathNode({shown}, moved=False)"


def test_a_tree_knows_whether_the_server_may_be_asked_about_anything_in_it() -> None:
    text = b"""
version: 1
classes:
  name: {mode: deterministic, type: string, ask: true}
  nhs: {mode: deterministic, type: string}
collections:
  clinic.people: {a.b.name: name, nhs: nhs}
  clinic.visits: {nhs: nhs}
"""
    policies = load_policy(text, "policy.yaml")
    trees = [policies.covered(f"clinic.{name}") for name in ("people", "visits")]
    assert [tree is not None and tree.asks for tree in trees] == [True, False]


def test_classes_that_have_one_key_are_deterministic_and_alike_in_all_but_name() -> None:
    text = FieldClass("a", Mode.DETERMINISTIC, ValueType.STRING)
    like, number = replace(text, name="b"), FieldClass("c", Mode.DETERMINISTIC, ValueType.INT)
    keyed, notes = replace(text, name="d", per=b"tenant"), FieldClass("e", Mode.RANDOM, None)
    policies = PolicySet({each.name: each for each in (text, like, number, keyed, notes)}, {})
    assert text.may_share_key(like)
    assert policies.unlike([("a", "b"), ("c", "unknown"), ("unknown",), ()]) == ()
    assert policies.unlike([("a", "b"), ("unknown", "b", "c")]) == ("b", "c")
    assert policies.unlike([("a", "d")]) == ("a", "d")
    for alone in ("d", "e"):
        assert policies.unlike([("unknown", alone)]) == (alone,)


def test_a_class_is_used_where_it_has_a_path_of_a_name_or_a_pattern() -> None:
    rules = HEAD + b"  clinic.patients: {x.y: a}\n"
    assert load_policy(rules, "f").used_classes == {"a"}
    assert load_policy(HEAD + b"  'clinic_*.patients': {x: b, z: a}\n", "f").used_classes == {"a", "b"}


# ----------------------------------------------------------------------------------------------- dotted paths

ROOT = POLICY.collections["clinic.patients"]


@rows(
    "part, expected",
    *((part, True) for part in (b"0", b"17", b"$", b"$[]", b"$[x]", b"$id")),
    *((part, False) for part in (b"", b"-1", b"1a", b"a1", b"a$", "\N{ARABIC-INDIC DIGIT ONE}".encode())),
)
def test_indexes_and_positions_stand_for_array_elements(part: bytes, expected: bool) -> None:
    assert is_transparent(part) is expected


@rows(
    "path, expected",
    *((path, "nhs_number") for path in ("nhs_number", "nhs_number.0", "nhs_number.$", "nhs_number.1.$[]")),
    *((path, "address") for path in ("address", "address.0", "address.$[a]")),
    *((path, "contacts.phone") for path in ("contacts.phone", "contacts.0.phone", "contacts.$.phone.3")),
    *((path, "notes") for path in ("notes",)),
    *((path, "deep.a") for path in ("deep.a", "deep.0.a", "deep.a.5", "deep.$[].a.$[x]")),
    *((path, None) for path in ("name", "", ".", "nhs", "address.city", "contacts.0.kind", "a.nhs_number")),
    *((path, None) for path in ("address..postcode", ".nhs_number", "address.", "Nhs_number")),
)
def test_a_path_leads_to_what_it_covers(path: str, expected: str | None) -> None:
    found = follow(ROOT, path.encode())
    assert (found.path if found else None) == expected


@rows("path", "nhs_number.x", "notes.x", "notes.0", "notes.$", "nhs_number.0.x", "nhs_number.")
def test_no_path_leads_into_an_encrypted_value(path: str) -> None:
    with raising(Refusal, Reason.BELOW_ENCRYPTED) as caught:
        follow(ROOT, path.encode())
    assert caught.value.path == path.split(".", maxsplit=1)[0]


@rows(
    "path, expected",
    *(
        (path, True)
        for path in ("nhs_number.x", "nhs_number.0.x", "address.postcode.x.y", "contacts.0.phone.x")
    ),
    *((path, True) for path in ("tags.$.x", "contacts.phone.0.x", "deep.a.b.c")),
    *((path, False) for path in ("nhs_number", "nhs_number.0", "tags.$[]", "notes.x", "contacts.note.x")),
    *(
        (path, False)
        for path in ("name", "name.x", "address.city", "address.city.postcode", "deep.a", "deep.x.b.c")
    ),
)
def test_a_path_leads_below_scalars_of_a_deterministic_class(path: str, expected: bool) -> None:
    assert is_below_scalars(ROOT, path.encode()) is expected


def test_anything_below_an_opaque_node_is_opaque() -> None:
    opaque = PathNode("", {b"x": PathNode("x", opaque=True)})
    found = follow(opaque, b"x.y.z")
    assert found is not None
    assert found.opaque
    assert follow(NOTHING, b"x") is None


def test_a_tree_past_the_bounds_is_refused() -> None:
    deep = PathNode("", opaque=True)
    for _ in range(100):
        deep = bounded(PathNode("", {b"d": deep}))
    with pytest.raises(Refusal):
        bounded(PathNode("", {b"d": deep}))
    leaf = PathNode("", opaque=True)
    largest = PathNode("", {b"%d" % number: leaf for number in range(19_999)})
    assert bounded(largest) is largest
    with pytest.raises(Refusal):
        bounded(PathNode("", {**largest.children, b"one more": leaf}))
    wide = PathNode("", opaque=True)
    for _ in range(13):
        wide = bounded(PathNode("", {b"a": wide, b"b": wide}))
    with pytest.raises(Refusal):
        bounded(PathNode("", {b"a": wide, b"b": wide}))


# ----------------------------------------------------------------------------------- whose data documents are

VISITS = Link(LinkEnd("clinic.visits", "patient_id"), LinkEnd("clinic.patients", "_id"))


def test_a_collection_has_the_link_that_begins_there() -> None:
    subjects = Subjects("nhs", (VISITS,))
    assert subjects.link_of("clinic.visits") == VISITS
    assert subjects.link_of("clinic.patients") is None


def test_a_place_is_written_as_the_policy_has_it() -> None:
    assert str(VISITS.target) == "clinic.patients._id"


OBSERVABLE = b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
  idle: {mode: random}
collections:
  clinic.patients: {nhs: nhs, notes: notes}
  clinic.visits: {nhs: nhs}
  clinic.open_*: {nhs: nhs}
  clinic.*: {note: notes}
"""


def observing(names: str) -> PolicySet:
    return load_policy(OBSERVABLE + f"observe: [{names}]\n".encode(), "p").enforced


def test_a_policy_that_observes_nothing_is_enforced_as_it_is() -> None:
    policy = load_policy(OBSERVABLE, "p")
    assert policy.enforced is policy
    assert (policy.unprotected, policy.observed_trees, policy.written) == ((), (), None)


def test_what_is_observed_is_plain_and_needs_no_key() -> None:
    policy = load_policy(OBSERVABLE + b"mode: observe\n", "p").enforced
    assert not policy.protects_anything
    assert policy.covered("clinic.patients") is None
    assert policy.class_names == ("idle",)
    assert policy.unprotected == ("clinic.*", "clinic.open_*", "clinic.patients", "clinic.visits")
    assert policy.written is not None
    assert policy.written.covered("clinic.patients") is policy.written.collections["clinic.patients"]


@rows(
    "names, protected, plain",
    ("clinic.patients", ("clinic.visits", "clinic.open_a", "clinic.b"), ("clinic.patients",)),
    ('"clinic.open_*"', ("clinic.patients", "clinic.b"), ("clinic.open_a",)),
    ('"clinic.*"', ("clinic.patients", "clinic.open_a"), ("clinic.b",)),
)
def test_names_go_before_patterns_where_some_is_observed(
    names: str, protected: tuple[str, ...], plain: tuple[str, ...]
) -> None:
    policy = observing(names)
    for name in protected * 2:  # what is looked up twice is remembered
        assert policy.covered(name) is not None
        assert policy.declared(name)
    for name in plain * 2:
        assert policy.covered(name) is None
        assert policy.is_plain(name)
        assert not policy.declared(name)  # and is counted with nothing that is protected


def test_a_class_that_a_protected_collection_has_keeps_its_key() -> None:
    assert observing('clinic.patients, clinic.visits, "clinic.open_*"').class_names == ("notes", "idle")
    assert observing("clinic.patients").class_names == ("nhs", "notes", "idle")
