"""One run of the command line, as its user sees it."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


class Listener:
    """A listener at an admin address. Each request gets the bytes of `answer`, which may raise."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer
        self._said = b""
        self.asked = b""

    def connect(self, *_: object) -> "Listener":
        """In the place of `socket.create_connection`."""
        self._said = self._answer()
        return self

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None: ...

    def sendall(self, request: bytes) -> None:
        self.asked += request

    def makefile(self, mode: str) -> BytesIO:
        assert mode == "rb"
        return BytesIO(self._said)
