"""Sequences: what is stored at first, the indexes on it, and then commands and transactions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.integration.differential.command import MAKING_VIEW, WRITING_PIPELINE, Command
from tests.integration.differential.commands import SEEN, hinted, indexes, reads, views
from tests.integration.differential.documents import document, numbered, visit
from tests.integration.differential.shapes import PEOPLE, VISITS, Shape
from tests.integration.differential.values import Document, weighted
from tests.integration.differential.write_commands import writes

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

    @property
    def commands(self) -> Iterator[Command]:
        """Every command but those that store the first documents."""
        yield from self.indexes
        for step in self.steps:
            yield from step.commands if isinstance(step, Transaction) else (step,)

    @property
    def collections(self) -> frozenset[str]:
        """The collections that have documents at some time, and the view."""
        changed = frozenset({PEOPLE, VISITS}).union(*(command.changes for command in self.commands))
        return changed.union(each.body["create"] for each in self.commands if each.kind == MAKING_VIEW)

    def with_view(self, name: str) -> "Sequence":
        """The same, whose view has this name."""

        def named(step: Step) -> Step:
            if isinstance(step, Transaction) or SEEN not in step.body.values():
                return step
            body = {field: name if value == SEEN else value for field, value in step.body.items()}
            return replace(step, body=body)

        return replace(self, steps=list(map(named, self.steps)))


@cache
def sequences(shape: Shape) -> st.SearchStrategy[Sequence]:
    """Sequences on the collections of one shape."""
    people = numbered(document(shape), most=4)
    visits = numbered(visit(shape), most=3)
    plain = _several(_step(shape, pinned=False))
    alone = st.builds(Sequence, st.just(shape), people, visits, st.just([]), plain)
    indexed = st.lists(indexes(shape), min_size=1, max_size=2).flatmap(
        lambda made: st.builds(
            Sequence, st.just(shape), people, visits, st.just(made), _several(_hinting_step(shape, made[0]))
        )
    )
    viewed = st.builds(
        lambda stored, others, view, more: Sequence(shape, stored, others, [], [*view, *more]),
        people,
        visits,
        views(shape),
        plain,
    )
    return weighted((13, alone), (5, indexed), (2, viewed))


def _several(step: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """One to `MOST_STEPS`, each number as often; left to itself, half of the lists would have one."""
    return st.integers(1, MOST_STEPS).flatmap(lambda size: st.lists(step, min_size=size, max_size=size))


def _step(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Step]:
    command = _command(shape, pinned=pinned)
    transaction = st.builds(
        lambda found, commits: Transaction(tuple(found), commits),
        st.lists(_in_transaction(shape, pinned=pinned), min_size=1, max_size=3),
        st.booleans(),
    )
    return weighted((12, command), (1, transaction))


def _hinting_step(shape: Shape, made: Command) -> st.SearchStrategy[Step]:
    return weighted((6, _step(shape, pinned=True)), (1, hinted(shape, made)))


def _command(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Command]:
    often = (5, 3) if shape.asks else (2, 3)
    return weighted((often[0], reads(shape)), (often[1], writes(shape, pinned=pinned)))


def _in_transaction(shape: Shape, *, pinned: bool) -> st.SearchStrategy[Command]:
    """No `count` and `explain`, which no server takes there, and nothing that writes collections whole."""
    return _command(shape, pinned=pinned).filter(
        lambda command: command.kind not in ("count", "explain", WRITING_PIPELINE)
    )


def any_sequence(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Sequences on any of the shapes."""
    return st.sampled_from(shapes).flatmap(sequences)


def is_searchable(value: Any) -> bool:
    """Whether a search by its path finds every value in a document: not below a number as a field's name.

    Nor in an array of arrays. A class whose values stand in such a place cannot begin to move, and one that
    is put there meanwhile moves in the end only: until then a search by the number may miss it.
    """
    if isinstance(value, dict):
        return not any(name.isdigit() for name in value) and all(map(is_searchable, value.values()))
    if isinstance(value, list):
        return all(is_searchable(item) and not isinstance(item, list) for item in value)
    return True


def searchable_sequences(shapes: tuple[Shape, ...]) -> st.SearchStrategy[Sequence]:
    """Those that store nothing where no search finds it, as far as the commands show."""

    def fits(sequence: Sequence) -> bool:
        stored = all(map(is_searchable, (*sequence.people, *sequence.visits)))
        return stored and not any(has_number(command.body) for command in sequence.commands)

    return any_sequence(shapes).filter(fits)


def has_number(value: Any) -> bool:
    """Whether a command has a number as a field's name anywhere."""
    if isinstance(value, dict):
        return any(name.isdigit() for name in value) or any(map(has_number, value.values()))
    return isinstance(value, list) and any(map(has_number, value))
