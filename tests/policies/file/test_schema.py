"""The policy's types: namespaces, patterns, and what a tree of covered paths knows of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import NOTHING, FieldClass, Mode, PathNode, ValueType, freeze, matches
from tests.bson_types import BsonType

HEAD = b"version: 1\nclasses: {a: {mode: random}, b: {mode: deterministic, type: int}}\ncollections:\n"


@pytest.mark.parametrize(
    ("pattern", "namespace", "expected"),
    [
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
    ],
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
        [*node.children] if (node := policy.covered(name)) else None
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


LEAVES = st.sampled_from(
    [
        PathNode("r", leaf=FieldClass("r", Mode.RANDOM, None)),
        PathNode("d", leaf=FieldClass("d", Mode.DETERMINISTIC, ValueType.INT)),
        PathNode("o", opaque=True),
        NOTHING,
    ]
)


def _branches(children: st.SearchStrategy[PathNode]) -> st.SearchStrategy[PathNode]:
    names = st.sampled_from([b"a", b"b", b"c"])
    return st.dictionaries(names, children, min_size=1).map(lambda found: PathNode("", freeze(found)))


@given(st.recursive(LEAVES, _branches, max_leaves=20))
def test_what_a_tree_counts_is_what_a_walk_finds(tree: PathNode) -> None:
    def walk(node: PathNode, depth: int) -> list[tuple[PathNode, int]]:
        return [(node, depth), *(pair for child in node.children.values() for pair in walk(child, depth + 1))]

    found = walk(tree, 0)
    assert tree.size == len(found)
    assert tree.depth == max(depth for _, depth in found)
    assert tree.holds_random == any(
        node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM) for node, _ in found
    )
