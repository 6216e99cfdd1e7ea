"""Logins that fail again and again from one address: one line on record for many, with their number.

Anybody who can connect can fail to log in, or send commands without a login, again and again. The first time
has its line at once. What follows from the same address within a window is counted, and the last one is put
on record with the number when it ends. None is lost in number while the process lives: who kills it takes a
window's count along, and the metric of failures with it.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import Audit
from sealwire.proxy.session.login.authentication import CertificateLogin
from sealwire.proxy.session.login.caller import LoginNeeded

_EVENT: Final = "login-failed"
_WITHOUT_LOGIN: Final = frozenset({LoginNeeded.__name__, CertificateLogin.__name__})
"""The reasons of refusals that nobody has to log in for."""
WINDOW_S: Final = 10.0
MAX_ADDRESSES: Final = 1000
"""Counted apart; all others together. So an outsider with many addresses fills no memory either."""
_OTHERS: Final = "others"
_IPV6_NETWORK: Final = 64
"""What one customer has of it."""

Write = Callable[[Audit, Origin], bool]
"""Puts a line on record; False where that cannot be done."""


@dataclass(slots=True)
class Repeated:
    """What came from one address since its last line."""

    ends_s: float
    count: int = 0
    last: tuple[Audit, Origin] | None = None


@final
class FailedLogins:
    """One for each process."""

    __slots__ = ("_clock", "_repeated", "_write")

    def __init__(self, write: Write, clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._repeated: dict[tuple[str, str], Repeated] = {}
        """By address and event."""

    def write(self, record: Audit, origin: Origin) -> bool:
        """Put a failure on record, now or with others. False where that cannot be done."""
        whence = _address(origin.client), record.event
        if whence not in self._repeated and len(self._repeated) >= MAX_ADDRESSES:
            whence = _OTHERS, record.event
        known = self._repeated.get(whence)
        is_first = known is None
        if known is None:
            known = self._repeated[whence] = Repeated(self._clock() + WINDOW_S)
            if self._write(record, origin):
                return True
        # the first too, where the log does not take it: its client learns nothing, and it counts all the same
        known.count += 1
        known.last = record, origin
        return not is_first

    def tick(self) -> None:
        """About once a second: put windows on record that have ended; forget those in which nothing came."""
        now_s = self._clock()
        for whence, known in tuple(self._repeated.items()):
            if known.ends_s <= now_s:
                if known.last is None:
                    del self._repeated[whence]
                else:
                    self._put(known)
                    known.ends_s = now_s + WINDOW_S

    def close(self) -> None:
        """Put all on record that was only counted."""
        for known in self._repeated.values():
            self._put(known)
        self._repeated.clear()

    def _put(self, known: Repeated) -> None:
        """What the audit log does not take now, it is given again with what comes until then."""
        if known.last is not None:
            record, origin = known.last
            if self._write(replace(record, count=known.count), origin):
                known.count, known.last = 0, None


def is_of_nobody(record: Audit) -> bool:
    """Whether anybody who can connect can cause it, so that it goes here."""
    return record.event == _EVENT or record.reason in _WITHOUT_LOGIN


def _address(client: str) -> str:
    """The address alone; of IPv6 the network that one customer has."""
    host = client.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))
    return str(address)
