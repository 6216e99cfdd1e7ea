"""Sequences: what is stored at first, the indexes on it, and then commands and transactions."""

from dataclasses import dataclass
from functools import cache

from hypothesis import strategies as st

from tests.integration.differential.commands import Command, hinted, indexes, reads, views, writes
from tests.integration.differential.documents import document, numbered, visit
from tests.integration.differential.shapes import Shape
from tests.integration.differential.values import Document

MOST_STEPS = 6


@dataclass(frozen=True, slots=True)
class Transaction:
    """Commands in one transaction. An error or a refusal ends it, as the drivers' callback interface does."""

    commands: tuple[Command, ...]
    commits: bool


Step = Command | Transaction


@dataclass(frozen=True, slots=True)
class Sequence:
    """One example."""

    shape: Shape
    people: list[Document]
    visits: list[Document]
    indexes: list[Command]
    steps: list[Step]


@cache
def sequences(shape: Shape) -> st.SearchStrategy[Sequence]:
    """Sequences on the collections of one shape."""
    people = numbered(document(shape), most=4)
    visits = st.just([]) | numbered(visit(shape), most=3)
    plain = st.lists(_step(shape, pinned=False), min_size=1, max_size=MOST_STEPS)
    indexed = st.lists(_step(shape, pinned=True) | hinted(shape), min_size=1, max_size=MOST_STEPS)
    viewed = views(shape).map(list)
    made = st.lists(indexes(shape), min_size=1, max_size=2)
    kinds = (
        st.builds(Sequence, st.just(shape), people, visits, st.just([]), plain),
        st.builds(Sequence, st.just(shape), people, visits, made, indexed),
        st.builds(
            lambda stored, view, more: Sequence(shape, stored, [], [], [*view, *more]), people, viewed, plain
        ),
    )
    return st.integers(0, 19).flatmap(lambda dice: kinds[0 if dice < 14 else 1 if dice < 19 else 2])


def _step(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Step]:
    command = reads(shape) | writes(shape, pinned=pinned)
    transaction = st.builds(
        lambda found, commits: Transaction(tuple(found), commits),
        st.lists(_in_transaction(shape, pinned=pinned), min_size=1, max_size=3),
        st.booleans(),
    )
    return st.integers(0, 9).flatmap(lambda dice: transaction if dice == 0 else command)


def _in_transaction(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Command]:
    """No `count` and `explain`, which no server takes there, and nothing that writes collections whole."""
    return (reads(shape) | writes(shape, pinned=pinned)).filter(
        lambda command: command.kind not in ("count", "explain", "aggregate writes")
    )


def any_sequence(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Sequences on any of the shapes."""
    return st.sampled_from(shapes).flatmap(sequences)
