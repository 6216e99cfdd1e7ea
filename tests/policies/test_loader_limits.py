"""Large and odd policy files: what an operator may name by mistake must not hang a command."""

from pathlib import Path

from sealwire.files.yaml_source import MAX_SOURCE_BYTES
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves
from sealwire.proxy.server.errors import read_named_file

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
