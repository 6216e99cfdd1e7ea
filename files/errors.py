"""What a file that somebody wrote can be told: where it is wrong, and what to write instead."""


class SourceError(Exception):
    """A file says something that cannot be accepted; the place is in the message."""

    def __init__(self, filename: str, line: int, column: int, problem: str, hint: str = "") -> None:
        super().__init__(f"{filename}:{line}:{column}: {problem}")
        self.filename = filename
        self.line = line
        self.column = column
        self.problem = problem
        self.hint = hint
