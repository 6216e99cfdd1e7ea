"""Walks through a model: every order of the steps of a command, of writes of others, and of a job."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

State = TypeVar("State")


def first_wrong(
    starts: Iterable[State],
    steps: Callable[[State], Iterator[State]],
    verdict: Callable[[State], bool | None],
) -> State | None:
    """A state in which a command has ended wrongly; None if there is none.

    verdict: None for a state that goes on, else whether the command has ended rightly in it.
    """
    waiting = [*starts]
    seen = set(waiting)
    while waiting:
        state = waiting.pop()
        is_right = verdict(state)
        if is_right is False:
            return state
        if is_right is None:
            for further in steps(state):
                if further not in seen:
                    seen.add(further)
                    waiting.append(further)
    return None
