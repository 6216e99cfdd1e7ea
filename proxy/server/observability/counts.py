"""What sessions and connections have counted, until somebody asks. Compiled with those that count.

Cost for each message: one addition for each peer whose bytes it is, one that counts down to the message that
is timed, and one look-up for each Count effect.
"""

from typing import Final, final

from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.login.caller import LOGIN_COMMANDS
from sealwire.proxy.session.login.handshake import HELLO_COMMANDS
from sealwire.wire.header import COMPRESSED, MSG, op_code_of

_LONGEST_STRIDE: Final = 15
"""From 1 on, each as often: 8 in the mean. A fixed one would always meet the same command of a loop."""
_NAME_AT: Final = 26
"""After header, flags, kind of section, length and type: the first element of an OP_MSG, the command."""
_MAX_NAME: Final = 32
_NOT_SAMPLED: Final = HELLO_COMMANDS | LOGIN_COMMANDS | {b"authenticate", b"ping"}
"""Drivers send these by themselves; of a client that connects often they would be most of it."""


@final
class CoreCounts:
    """Sums by counter and label, and bytes, kept by the event loop alone.

    A counter of the metrics library takes a lock for every increment.
    """

    __slots__ = (
        "_seed",
        "_sums",
        "from_client_bytes",
        "from_server_bytes",
        "is_watching",
        "to_client_bytes",
        "to_server_bytes",
        "until_sampled",
    )

    def __init__(self) -> None:
        self._sums: dict[tuple[Counter, str], int] = {}
        self.from_client_bytes = 0
        self.to_server_bytes = 0
        self.from_server_bytes = 0
        self.to_client_bytes = 0
        self.is_watching = False
        """Whether every command is timed, and not one in eight: for the log of slow ones, or for traces."""
        self.until_sampled = 1
        """At 0 a message of a client may be timed for the histograms, if it `samples`."""
        self._seed = 1

    def add(self, count: Count) -> None:
        """Carry out one Count effect. Cost: two look-ups."""
        key = count.counter, count.label
        self._sums[key] = self._sums.get(key, 0) + count.amount

    def samples(self, data: bytes) -> bool:
        """Whether the message that `data` begins is timed, now that its turn has come.

        A handshake, a login and a ping are not: then the next message may be. A compressed message is timed,
        for nobody has read yet what it is. Cost: a microsecond.
        """
        code = op_code_of(data) if len(data) > _NAME_AT else 0
        if code == MSG:
            end = data.find(b"\0", _NAME_AT, _NAME_AT + _MAX_NAME)
            if end >= 0 and data[_NAME_AT:end] in _NOT_SAMPLED:
                return False
        elif code != COMPRESSED:
            return False  # a handshake of old, or the rest of a message
        # numbers for strides, and for nothing that somebody must not foresee
        self._seed = (self._seed * 1103515245 + 12345) & 0x7FFFFFFF
        self.until_sampled = 1 + (self._seed >> 16) % _LONGEST_STRIDE
        return True

    def sums(self) -> dict[tuple[Counter, str], int]:
        """A copy of the sums, as they are now. May be called from any thread."""
        return dict(self._sums)
