"""The lease of this process: under which name, until when, and what it acknowledges."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple, final
from uuid import uuid4

from sealwire.keys.frontier.record import LEASE_S

RENEW_S: Final = 0.5
"""After so long a lease is renewed that has nothing else to tell."""


class Renewal(NamedTuple):
    """The content of a lease that is renewed."""

    proxy: str
    """The lease's name."""
    acknowledged: Mapping[int, int] = {}
    """By class id, the newest generation whose window may move for all this process does."""
    seen: Mapping[tuple[int, int], int] = {}
    """By class id and new version, the newest generation that this process has read, under any lease."""


@final
class OwnLease:
    """One name at a time. Times: seconds of a steady clock, and the server's."""

    def __init__(self) -> None:
        self.begin_again()

    def begin_again(self) -> None:
        """Under a name that nobody had before, and with nothing acknowledged."""
        self.proxy = str(uuid4())
        self.is_registered = False
        """Whether it is on the server."""
        self.told = Renewal(self.proxy)
        """The content of the last renewal that the server has answered."""
        self.valid_until_s = 0.0
        self._renewed: datetime | None = None

    def is_due(self, told: Renewal, now_s: float) -> bool:
        """Whether to renew it now: it has something else to tell, or was renewed a while ago."""
        return not self.is_registered or told != self.told or now_s >= self.valid_until_s - LEASE_S + RENEW_S

    def renew(self, renewed: datetime | None, told: Renewal, sent_at_s: float) -> bool:
        """The server's answer to a renewal that was sent then. False: the lease is not to be relied on.

        That is so where the document has gone, and where by the server's clock it had run out in between: the
        own clock stood still, as that of a virtual machine does which is held up.
        """
        if renewed is None:
            return False
        before, self._renewed = self._renewed, renewed
        if before is not None and (renewed - before).total_seconds() >= LEASE_S:
            return False
        self.is_registered, self.told = True, told
        self.valid_until_s = sent_at_s + LEASE_S
        return True

    def has_run_out(self, now_s: float) -> bool:
        """Whether it was held, and is so no longer."""
        return self.is_registered and now_s >= self.valid_until_s
