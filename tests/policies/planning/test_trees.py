"""Trees of covered paths: what two have in common, and how they make one."""

from typing import Any

from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.trees import (
    Work,
    beside,
    document_node,
    either,
    is_in_clear,
    merge,
    placed,
    present,
    same_values,
    whole_inside,
)
from tests.policies.support import CLASSES, Shape, node, shown
from tests.support.rows import rows


@rows(
    "there, gone, expected",
    ("k", "l", "k"),
    ("?", "l", "?"),
    ("", "k", "-?"),
    ({"a": "k"}, "l", "?"),
    ({"a": "-k"}, "l", "-?"),
    ({"a": "k"}, "?", "?"),
    ({"a": "k"}, {"b": "l"}, "{a:k b:-?}"),
    ({"a": "k"}, {"a": "l"}, "{a:k}"),
    ({"a": {"x": "k"}}, {"a": {"y": "l"}}, "{a:{x:k y:-?}}"),
    ({"1": "k"}, {"b": "l"}, "?"),
    ({"a": "k"}, {"1": "l"}, "?"),
    ({"a": "-k"}, {"1": "l"}, "-?"),
    ({"a": "k", "|": {"c": "k"}}, {"b": "l"}, "{a:k b:-?}|{b:-? c:k}"),
)
def test_beside_what_is_there_stays_what_constants_may_have_been_meant_for(
    there: Shape, gone: Shape, expected: str
) -> None:
    assert shown(beside(node(there), node(gone), Work())) == expected


@rows(
    "left, right, expected",
    ("k", "k", "k"),
    ("k", "l", "?"),
    ("k", "r", "?"),
    ("k", "", "?"),
    ("", "k", "?"),
    ("?", "?", "?"),
    ("-k", "l", "l"),
    ("k", "-l", "k"),
    ("-?", "-?", "-?"),
    ("-?", "?", "?"),
    ("-?", "", "-?"),
    ({"a": "k"}, {"a": "k"}, "{a:k}"),
    ({"a": "k"}, {"a": ">k"}, ">{a:k}"),
    ({"a": ">k"}, {"a": "k"}, ">{a:>k}"),
    ({"a": "k"}, {"a": "l"}, "{a:?}"),
    ({"a": "k"}, {"b": "l"}, "{a:? b:?}"),
    ({"a": "k", ">": ""}, {"b": "l"}, ">{a:? b:?}"),
    ({"a": "k"}, {"b": "l", ">": ""}, ">{a:? b:?}"),
    ({"a": "k"}, "l", "?"),
    ({"a": "k", "1": "k"}, {"a": "l"}, "?"),
    ({"a": "k"}, {"$x": "l"}, "?"),
    ({"a": "-k"}, {"b": "-l", "1": ""}, "-?"),
    ({"a": "k", "|": {"b": "k"}}, {"a": "l"}, "{a:?}|{a:? b:?}"),
    ({"a": "l"}, {"a": "k", "|": {"b": "k"}}, "{a:?}|{a:? b:?}"),
    ({"a": "l", "|": {"b": "k"}}, {"a": "k", "|": {"b": "k"}}, "{a:?}|{b:k}"),
)
def test_either_of_two_documents(left: Shape, right: Shape, expected: str) -> None:
    assert shown(either(node(left), node(right), Work())) == expected


@rows(
    "shapes, expected",
    ([], ""),
    (["", ""], ""),
    (["k"], "k"),
    (["k", "k", "k"], "k"),
    (["k", "-k"], "k"),
    (["-k", "k"], "k"),
    (["-k", "-k"], "-k"),
    (["k", "l"], "?"),
    (["k", ""], "?"),
    (["", "k"], "?"),
    (["-k", "l"], "?"),
    (["-k", "-l"], "-?"),
    (["-k", ""], "-?"),
    ([{"a": "k"}, {"a": "-k"}], "{a:k}"),
    ([{"a": "-k"}, {"a": "-k"}], "{a:-k}"),
    ([{"a": "k"}, {"b": "k"}], "?"),
)
def test_a_value_that_may_be_any_of_several(shapes: list[Shape], expected: str) -> None:
    assert shown(merge([node(shape) for shape in shapes], Work())) == expected


@rows(
    "left, right, expected",
    ("k", "k", True),
    ("k", "-k", True),
    ("k", "l", False),
    ("k", "?", False),
    ("k", "", False),
    ("?", "", False),
    ({"a": "k"}, {"a": "k"}, True),
    ({"a": "k"}, {"a": "l"}, False),
    ({"a": "k"}, {"b": "k"}, False),
    ({"a": "k"}, {"a": "k", "b": "k"}, False),
    ({"a": "k", "|": {"b": "k"}}, {"a": "k", "|": {"b": "k"}}, True),
    ({"a": "k", "|": {"b": "k"}}, {"a": "k", "|": {"b": "l"}}, False),
    ({"a": "k", "|": {"b": "k"}}, {"a": "k"}, False),
    ({"a": "k"}, {"a": "k", "|": {"b": "k"}}, False),
    ({"a": "k", "|": {"a": "k"}}, {"a": "k"}, True),
    ({"a": "k"}, {"a": "k", "|": {"a": "k"}}, True),
)
def test_trees_that_hold_the_same_classes_at_the_same_paths(
    left: Shape, right: Shape, expected: bool
) -> None:
    assert same_values(node(left), node(right), Work()) is expected


@rows(
    "shape, left, whole, clear, elsewhere",
    ("", "", None, True, ">"),
    ("k", "k", None, False, ">k"),
    (">k", ">k", None, False, ">k"),
    ("-k", "-k", None, True, "->k"),
    ("r", "r", "r", False, ">r"),
    ("-r", "-r", None, True, "->r"),
    ("?", "?", "?", False, ">?"),
    ("-?", "-?", None, True, "->?"),
    ({"a": "k", "b": "-l", "c": ""}, "{a:k}", None, False, ">{a:k b:-l c:}"),
    ({"a": "-k"}, "", None, True, ">{a:-k}"),
    ({"a": {"b": "-k"}, "c": "r"}, "{c:r}", "r", False, ">{a:{b:-k} c:r}"),
    ({"a": "-k", "|": {"b": "l"}}, "|{b:l}", None, False, "?"),
    ({"a": "-k", "|": {"b": "-l"}}, "", None, True, "?"),
    ({"a": "k", "|": {"b": "r"}}, "{a:k}|{b:r}", "r", False, "?"),
    ({"x": {"a": "k", "|": {"b": "l"}}}, "{x:{a:k}|{b:l}}", None, False, "?"),
)
def test_what_is_there_of_a_tree(
    shape: Shape, left: str, whole: str | None, clear: bool, elsewhere: str
) -> None:
    tree = node(shape)
    assert shown(present(tree, Work())) == left
    assert shown(whole_inside(tree, Work())) == str(whole)
    assert is_in_clear(tree) is clear
    assert shown(placed(tree)) == elsewhere


@rows(
    "children, expected",
    ({}, ""),
    ({"a": ""}, ""),
    ({"a": "k", "b": ""}, "{a:k}"),
    ({"a": "k", "1": ""}, "?"),
    ({"a": "", "1": ""}, ""),
    ({"1": "k"}, "?"),
)
def test_a_document_of_fields(children: dict[str, Any], expected: str) -> None:
    made = document_node({name.encode(): node(part) for name, part in children.items()})
    assert shown(made) == expected
    assert (made is NOTHING) is (expected == "")


def test_what_is_opaque_keeps_the_path_that_it_is_known_by() -> None:
    covered, clear = PathNode("p", leaf=CLASSES["k"]), PathNode("q")
    for made in (
        merge([clear, covered], Work()),
        either(clear, covered, Work()),
        either(covered, clear, Work()),
    ):
        assert (made.path, made.opaque) == ("p", True)
    assert document_node({b"a": covered, b"1": clear}).path == "p"
    assert placed(PathNode("p", {b"a": covered}, behind_number=covered)).path == "p"
    assert beside(clear, covered, Work()).path == "p"
    assert beside(PathNode("", {b"a": covered}), PathNode("z", {b"b": covered}), Work()).path == "z"
    assert beside(PathNode("y", {b"a": covered}), PathNode("z", {b"b": covered}), Work()).path == "y"


def test_fields_of_documents_are_known_for_one_command() -> None:
    work, tree, other = Work(), node({"a": "k"}), node({"b": "k"})
    assert work.known_fields(tree) is None
    assert work.known_fields(tree) == []
    assert work.known_fields(other) is None
    assert work.known_fields(other) == []
    work.clear()
    assert work.known_fields(other) is None
