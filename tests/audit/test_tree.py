"""The tree over lines, held against its definition."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.line import leaf_hash
from sealwire.audit.tree import Tree


def by_definition(leaves: list[bytes]) -> bytes:
    """The hash of a list of leaf hashes, as RFC 9162 section 2.1.1 has it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + by_definition(leaves[:half]) + by_definition(leaves[half:])).digest()


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 100, 257])
def test_the_root_is_the_one_of_the_definition(size: int) -> None:
    leaves = [leaf_hash(b"%d\n" % number) for number in range(size)]
    assert tree_of(leaves).root() == by_definition(leaves)


def test_roots_that_certificate_transparency_publishes() -> None:
    assert Tree().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    root = tree_of([leaf_hash(b"")]).root().hex()
    assert root == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@given(st.integers(0, 70), st.integers(0, 70))
def test_a_tree_goes_on_from_its_peaks(before: int, after: int) -> None:
    leaves = [leaf_hash(b"%d\n" % number) for number in range(before + after)]
    first = tree_of(leaves[:before])
    again, copied = Tree(first.size, first.peaks), first.copy()
    for leaf in leaves[before:]:
        again.append(leaf)
        copied.append(leaf)
    assert again.root() == copied.root() == by_definition(leaves)
    assert first.size == before
    assert again.size == before + after


@pytest.mark.parametrize(
    ("size", "peaks"), [(0, [bytes(32)]), (3, [bytes(32)]), (1, [bytes(31)]), (-1, []), (-1, [bytes(32)])]
)
def test_peaks_that_do_not_fit_are_no_tree(size: int, peaks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="peaks"):
        Tree(size, peaks)
