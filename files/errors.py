"""What a file that somebody wrote can be told: where it is wrong, and what to write instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, final

T = TypeVar("T")
U = TypeVar("U")


class SourceError(Exception):
    """A file says something that cannot be accepted; the place is in the message."""

    def __init__(self, filename: str, line: int, column: int, problem: str, hint: str = "") -> None:
        super().__init__(f"{filename}:{line}:{column}: {problem}")
        self.filename = filename
        self.line = line
        self.column = column
        self.problem = problem
        self.hint = hint
        self.others: tuple[SourceError, ...] = ()
        """What else is wrong with the file, in the order of its lines."""


@final
class Complaints:
    """Gathers what is wrong with the parts of a file, so that its author hears of all of it at once."""

    def __init__(self) -> None:
        self._found: list[SourceError] = []

    def __bool__(self) -> bool:
        """Whether anything was wrong so far."""
        return bool(self._found)

    def add(self, error: SourceError) -> None:
        """Keep an error, and its others, which are no longer its own then."""
        self._found += (error, *error.others)
        error.others = ()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep a SourceError that is raised within; what comes after it in the block is not done."""
        try:
            yield
        except SourceError as error:
            self.add(error)

    def read(self, look: Callable[[], T], otherwise: U) -> T | U:
        """What `look` returns; `otherwise` where it raises a SourceError, which is kept."""
        with self.gathered():
            return look()
        return otherwise

    def check(self) -> None:
        """Raises the first SourceError by its place, with all others in it, where there are any.

        What two readers say of one place in the same words is said once.
        """
        if self._found:
            once: dict[str, SourceError] = {}
            for error in self._found:
                once.setdefault(str(error), error)
            first, *others = sorted(once.values(), key=lambda error: (error.line, error.column))
            first.others = tuple(others)
            raise first
