"""What a file that somebody wrote can be told: where it is wrong, and what to write instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


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

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep a SourceError that is raised within; what comes after it in the block is not done."""
        try:
            yield
        except SourceError as error:
            self._found += (error, *error.others)
            error.others = ()

    def check(self) -> None:
        """Raises the first SourceError by its place, with all others in it, where there are any."""
        if self._found:
            first, *others = sorted(self._found, key=lambda error: (error.line, error.column))
            first.others = tuple(others)
            raise first
