"""One command that was answered: how long each part of it took, for the log of slow ones and for traces."""

from dataclasses import dataclass
from typing import Protocol

from sealwire.proxy.session.watch import CommandNote


@dataclass(frozen=True, slots=True)
class FinishedCommand:
    """All times in seconds; names and counts, never a value."""

    note: CommandNote
    client: str
    """Its address."""
    connection: int
    total_s: float
    """From the client's message to the reply."""
    server_s: float
    """The part while the server had the command, with the network to it."""
    decrypting_s: float
    """The part for the reply: reading it and opening what is in it."""
    decrypted: int
    """Values."""
    ended_ns: int
    """When, by the machine's clock, in nanoseconds since 1970."""

    @property
    def waiting_s(self) -> float:
        """What is left of it: waits for keys and for questions of ours, and reading the message."""
        parts = self.note.planning_s + self.note.encrypting_s + self.server_s + self.decrypting_s
        return max(self.total_s - parts, 0.0)


class CommandListener(Protocol):
    """Is told of every command that was answered, in the event loop: it must not wait for anything."""

    def finished(self, command: FinishedCommand) -> None:
        """One more."""
