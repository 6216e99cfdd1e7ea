"""Logins that fail again and again from one address: one line on record for many, with their number.

Anybody who can connect can fail to log in, again and again. The first failure has its line at once. Those
that follow from the same address within a window are counted, and the last one is put on record with their
number when it ends. None is lost in number while the process lives: who kills it takes a window's count
along, and the metric of failures with it.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import Audit

EVENT: Final = "login-failed"
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
        self._repeated: dict[str, Repeated] = {}

    def write(self, record: Audit, origin: Origin) -> bool:
        """Put a failure on record, now or with others. False where that cannot be done."""
        address = _address(origin.client)
        if address not in self._repeated and len(self._repeated) >= MAX_ADDRESSES:
            address = _OTHERS
        known = self._repeated.get(address)
        if known is None:
            self._repeated[address] = Repeated(self._clock() + WINDOW_S)
            return self._write(record, origin)
        known.count += 1
        known.last = record, origin
        return True

    def tick(self) -> None:
        """About once a second: put windows on record that have ended; forget those in which nothing came."""
        now_s = self._clock()
        for address, known in tuple(self._repeated.items()):
            if known.ends_s <= now_s:
                if known.last is None:
                    del self._repeated[address]
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
