"""Trees after a stage: what is where, and how much work that is."""

from typing import Any

import pytest

from sealwire.policies.aggregation.reshaping import (
    Assignment,
    FieldNames,
    assign_path,
    assign_paths,
    drop_paths,
    names_of,
    replaced,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, FieldClass, Mode, PathNode, ValueType
from sealwire.policies.planning.trees import Work
from sealwire.policies.planning.walk import MAX_STAGES
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.policies.support import Shape, node, plan_of, reason, shown
from tests.support.reasons import raising
from tests.support.rows import rows

NHS = PathNode("nhs", leaf=FieldClass("nhs", Mode.DETERMINISTIC, ValueType.STRING))
TREE = PathNode("", {b"nhs": NHS, b"a": PathNode("a", {b"b": NHS, b"c": NHS})})


def child(node: PathNode, *names: bytes) -> PathNode:
    """The node below by these names, which must be there."""
    for name in names:
        found = node.child(name)
        assert found is not None
        node = found
    return node


def test_all_paths_of_a_stage_are_assigned_at_once() -> None:
    clear: list[Assignment] = [(b"nhs", NOTHING), (b"a.b", NOTHING), (b"w", NOTHING)]
    tree = assign_paths(TREE, [*clear, (b"x", NHS), (b"y.z", NHS)], Work())
    assert set(tree.children) == {b"x", b"a", b"y"}
    assert child(tree, b"x") is NHS
    assert set(child(tree, b"a").children) == {b"c"}
    assert child(tree, b"y").opaque
    assert tree.behind_number is TREE


def test_what_changes_nothing_gives_the_same_tree() -> None:
    assert assign_paths(TREE, [(b"w", NOTHING), (b"x.y", None)], Work()) is TREE
    assert drop_paths(TREE, [b"w", b"w2.x"], Work()) is TREE


def test_what_is_taken_away_is_gone_and_what_is_put_below_it_brings_it_back_in_part() -> None:
    tree = drop_paths(TREE, [b"nhs", b"a"], Work())
    assert child(tree, b"nhs").is_gone
    assert child(tree, b"a").is_gone
    tree = assign_path(tree, b"a.b", NOTHING, Work())
    assert not child(tree, b"a").absent
    assert set(child(tree, b"a").children) == {b"c"}
    assert child(tree, b"a", b"c").is_gone


@pytest.mark.parametrize("paths", [[b"x", b"x"], [b"x", b"x.y"], [b"x.y", b"x"], [b".".join([b"x"] * 300)]])
def test_paths_that_collide_or_never_end_are_refused(paths: list[bytes]) -> None:
    with raising(Refusal, Reason.SHAPE):
        drop_paths(TREE, paths, Work())
    with raising(Refusal, Reason.SHAPE):
        assign_paths(TREE, [(path, NOTHING) for path in paths], Work())


def test_a_path_may_be_as_deep_as_documents_are_and_no_deeper() -> None:
    deepest = b".".join([b"x"] * MAX_DEPTH)
    assert drop_paths(TREE, [deepest], Work()) is TREE
    assert child(assign_paths(TREE, [(deepest, NHS)], Work()), b"x").opaque
    with pytest.raises(Refusal) as caught:
        drop_paths(TREE, [deepest + b".x"], Work())
    assert (caught.value.reason, caught.value.rule) == (Reason.SHAPE, "nesting")


def test_an_opaque_document_learns_what_is_put_into_it() -> None:
    opaque = PathNode("o", opaque=True)
    tree = assign_paths(opaque, [(b"x", NOTHING), (b"y", NHS), (b"z", None)], Work())
    assert tree.opaque
    assert tree.children == {b"x": NOTHING, b"y": NHS}


def test_new_documents_have_what_they_are_known_to_have() -> None:
    assert child(replaced(TREE, NOTHING, Work(), names_of([b"x"])), b"nhs").is_gone
    assert child(replaced(TREE, NOTHING, Work()), b"nhs").is_doubtful
    assert child(replaced(TREE, NOTHING, Work()), b"a", b"b").is_doubtful
    assert child(replaced(TREE, NOTHING, Work(), names_of([b"5"])), b"nhs").is_doubtful
    known = FieldNames({b"a": names_of([b"b"]), b"nhs": None}, others=True)
    assert b"nhs" not in replaced(TREE, NOTHING, Work(), known).children
    assert set(child(replaced(TREE, NOTHING, Work(), known), b"a").children) == {b"c"}
    assert replaced(NOTHING, TREE, Work()) is TREE
    shown = replaced(PathNode("o", opaque=True), NOTHING, Work(), names_of([b"x"]))
    assert shown.is_doubtful
    assert shown.children == {b"x": NOTHING}


FLAT: Shape = {"a": "k", "b": {"x": "k", "y": "l"}, "c": "r"}
DEEP: Shape = {"a": {"b": {"c": "k", "d": "l"}}}
GONE: Shape = {"a": {"b": "k", "c": "l", "-": ""}}


@rows(
    "tree, put, expected",
    (FLAT, {"a": ""}, "{b:{x:k y:l} c:r}"),
    (FLAT, {"a": "l"}, "{a:l b:{x:k y:l} c:r}"),
    (FLAT, {"a": None}, "{a:-k b:{x:k y:l} c:r}"),
    (FLAT, {"b": None}, "{a:k b:-{x:k y:l} c:r}"),
    (FLAT, {"b": ""}, "{a:k b:{x:-? y:-?} c:r}"),
    (FLAT, {"b": "k"}, "{a:k b:k c:r}"),
    (FLAT, {"b": {"x": "l"}}, "{a:k b:{x:l y:-?} c:r}"),
    (FLAT, {"b": {"z": "k"}}, "{a:k b:{x:-? y:-? z:k} c:r}"),
    (FLAT, {"b.x": "l"}, "{a:k b:? c:r}"),
    (FLAT, {"b.z": "k"}, "{a:k b:? c:r}"),
    (FLAT, {"n": "k"}, "{a:k b:{x:k y:l} c:r n:k}"),
    (FLAT, {"n.m": "k"}, "{a:k b:{x:k y:l} c:r n:?}"),
    (FLAT, {"n.m.o": "", "n.p": "k"}, "{a:k b:{x:k y:l} c:r n:?}"),
    ("?", {"a": "k"}, "?{a:k}"),
    ("?", {"a": ""}, "?{a:}"),
    ("?", {"a.b": "k"}, "?{a:?}"),
    ({"a": "?"}, {"a": "k"}, "{a:k}"),
    ({"a": "?"}, {"a": {"x": "k"}}, "{a:?{x:k}}"),
    ({"a": "?"}, {"a.x": "k"}, "{a:?}"),
)
def test_what_is_put_at_a_path(tree: Shape, put: dict[str, Shape | None], expected: str) -> None:
    before = node(tree)
    values = [(path.encode(), None if shape is None else node(shape)) for path, shape in put.items()]
    assert shown(assign_paths(before, values, Work())) == f"{expected}|{shown(before)}"


@rows(
    "tree, put, expected",
    (FLAT, {"b.x": ""}, "{a:k b:{y:l}|{x:k y:l} c:r}"),
    (FLAT, {"b.x": None}, "{a:k b:{x:-k y:l}|{x:k y:l} c:r}"),
    (FLAT, {"b.x": "", "b.y": ""}, "{a:k b:|{x:k y:l} c:r}"),
    (DEEP, {"a.b.c": None}, "{a:{b:{c:-k d:l}|{c:k d:l}}|{b:{c:k d:l}}}"),
    (DEEP, {"a.b.c": ""}, "{a:{b:{d:l}|{c:k d:l}}|{b:{c:k d:l}}}"),
    (DEEP, {"a.b": ""}, "{a:|{b:{c:k d:l}}}"),
    ({"a": {"b": "k", "c": "l", "-": ""}}, {"a.b": ""}, "{a:{c:-l}|{b:-k c:-l}}"),
    (GONE, {"a.b": None}, "{a:{b:-k c:-l}|{b:-k c:-l}}"),
    (GONE, {"a.z": ""}, "{a:{b:-k c:-l}}"),
)
def test_what_is_put_in_clear_below_a_name_leaves_the_rest(
    tree: Shape, put: dict[str, Shape | None], expected: str
) -> None:
    before = node(tree)
    values = [(path.encode(), None if shape is None else node(shape)) for path, shape in put.items()]
    assert shown(assign_paths(before, values, Work())) == f"{expected}|{shown(before)}"


@pytest.mark.parametrize("put", [{"n": ""}, {"n.m": ""}, {"b.z": ""}, {"n": None}, {"b.z": None}])
def test_what_is_put_where_nothing_is_covered_leaves_the_tree(put: dict[str, Shape | None]) -> None:
    before = node(FLAT)
    values = [(path.encode(), None if shape is None else node(shape)) for path, shape in put.items()]
    assert assign_paths(before, values, Work()) is before


def known(shape: dict[str, Any] | None) -> FieldNames | None:
    """Names by their nesting; `*` stands for any others."""
    if shape is None:
        return None
    names = {name.encode(): known(below) for name, below in shape.items() if name != "*"}
    return FieldNames(names, others="*" in shape)


@rows(
    "old, new, names, expected",
    ("k", "", {"*": None}, ""),
    ("", {"a": "k"}, {"*": None}, "{a:k}"),
    ({"a": "k"}, "", {"a": None}, ""),
    ({"a": "k"}, "", {"b": None}, "{a:-k}"),
    ({"a": "k"}, "", {"b": None, "*": None}, "{a:-?}"),
    ({"a": "k"}, "", {"5": None}, "{a:-?}"),
    ({"a": "k"}, "", {"a": {"x": None}}, ""),
    ({"a": "k"}, {"a": "l"}, {"a": None}, "{a:l}"),
    ({"a": "k"}, {"a": "l"}, {"*": None}, "{a:l}"),
    ({"a": "k"}, {"a": "l"}, {"b": None}, "{a:-k}"),
    ({"a": "k"}, "l", {}, "l"),
    ({"a": "k"}, "?", {}, "?"),
    ({"a": "k", "b": "-l"}, {"b": "k"}, {}, "{a:-k b:-l}"),
    ({"a": {"x": "k", "y": "l"}}, {"a": {"x": "k"}}, {"a": {"x": None}}, "{a:{x:k y:-l}}"),
    ({"a": {"x": "k", "y": "l"}}, {"a": {"x": "k"}}, {"a": None}, "{a:{x:k}}"),
    ({"a": {"x": "k"}}, "", {"a": {"z": None}}, "{a:{x:-k}}"),
    ({"a": "?"}, "", {"a": {"z": None}}, ""),
    ("?", "", {"a": None}, "-?{a:}"),
    ("?", {"a": "k"}, {"a": None, "b": None}, "?{a:k b:}"),
    ("?", "k", {"a": None}, "k"),
    ("?", "?", {}, "?"),
)
def test_documents_in_place_of_others(old: Shape, new: Shape, names: dict[str, Any], expected: str) -> None:
    found = known(names)
    assert found is not None
    assert shown(replaced(node(old), node(new), Work(), found)) == expected


MANY = 2_000


def _stage(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    wrapped: dict[str, Any] = {
        "$unset": list(fields),
        "$group": {"_id": 1, **{field: {"$first": value} for field, value in fields.items()}},
        "$setWindowFields": {"output": {field: {"$first": value} for field, value in fields.items()}},
        "$fill": {"output": {field: {"value": 1} for field in fields}},
        "$bucket": {
            "groupBy": "$age",
            "boundaries": [0, 9],
            "output": {field: {"$first": value} for field, value in fields.items()},
        },
        "$facet": {field: [{"$limit": 1}] for field in fields},
    }
    return {name: wrapped.get(name, fields)}


def _work(monkeypatch: pytest.MonkeyPatch, command: dict[str, Any]) -> int:
    """How many children the nodes have that are made for a plan."""
    counted = 0
    built = PathNode.__post_init__

    def count(node: PathNode) -> None:
        nonlocal counted
        counted += 1 + len(node.children)
        built(node)

    with monkeypatch.context() as patch:
        patch.setattr(PathNode, "__post_init__", count)
        plan_of(command)
    return counted


@pytest.mark.plain_core(reason="counts in a method that a compiled class calls by itself")
@rows(
    "name",
    "$addFields",
    "$project",
    "$unset",
    "$group",
    "$setWindowFields",
    "$fill",
    "$bucket",
    "$facet",
    "$replaceWith",
)
@pytest.mark.parametrize("value", ["$nhs_number", "$ward"])
def test_the_work_grows_with_the_fields_of_a_stage(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(count: int) -> int:
        fields = {f"f{number}": value for number in range(count)}
        first = {"$set": {} if name == "$fill" else dict.fromkeys(fields, "$nhs_number")}
        stage = _stage(name, fields)
        command = {"aggregate": "patients", "pipeline": [first, stage], "cursor": {}}
        return _work(monkeypatch, command)

    many = MAX_STAGES // 2 if name == "$facet" else MANY  # each of its pipelines has a stage
    few = run(many // 4)
    # quadratic work would be sixteen times as much
    assert run(many) <= 5 * few


# ---------------------------------------------------------------------- shapes that are unlike what is stored

MOVED = {"$set": {"copy": "$nhs_number"}}


@rows(
    "stages",
    [MOVED, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, {"$match": {"all.0.copy": "943"}}],
    [MOVED, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}, {"$match": {"all.copy": "943"}}],
    [MOVED, {"$facet": {"x": [{"$limit": 1}]}}, {"$match": {"x.0.copy": "943"}}],
    [{"$unset": "contacts.phone"}, {"$set": {"copy": "$contacts"}}, {"$match": {"copy.5.phone": "943"}}],
    [{"$project": {"contacts.phone": 0}}, {"$match": {"contacts.5.phone": "a"}}],
    [{"$set": {"contacts.phone": "$ward"}}, {"$match": {"contacts.0.phone": "Bob"}}],
)
def test_where_a_number_may_lead_to_two_things_nothing_is_compared(stages: list[dict[str, Any]]) -> None:
    assert reason({"aggregate": "patients", "pipeline": stages, "cursor": {}}) in (
        Reason.COMPUTE,
        Reason.STAGE,
    )
