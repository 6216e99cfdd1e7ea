"""Names of members in the sentences that servers write: each becomes the address that clients are told of.

Such a sentence is for people, as in `Error connecting to b:27017 (10.0.0.2:27017) :: caused by :: ...`, and
is still a way around the proxy for who reads it. A member is known by its name, with its port or without.
Whatever else looks like an address with a port, or is an IPv4 address, is one that nobody here knows.
Source: `lastHeartbeatMessage`, `infoMessage`, `initialSyncAttempts` of replSetGetStatus in MongoDB's manual.
"""

import re
from typing import Final, final

from sealwire.proxy.session.login.handshake import Topology

STRANGER: Final = "member-without-listener.invalid:27017"
"""In place of a member that clients are not told of: a name of the domain that never exists (RFC 2606)."""

# A name of several labels or one, or an IPv6 address in brackets; then a port, or none.
_WORD: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|\w[\w-]*(?:\.[\w-]+)*)(:\d{1,5}(?!\w))?")
_IPV4: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
# A colon and one digit: no port that a server has.
_SHORTEST: Final = 2
# What stands before the minutes of a time.
_HOUR: Final = re.compile(r"(?:[\d-]+T)?\d{1,2}")


@final
class MemberTexts:
    """Says of strings what a client is told of them. One for each reply."""

    def __init__(self, topology: Topology) -> None:
        """Cost: O(members)."""
        self._topology = topology
        members = topology.members
        self._hosts = {name.rpartition(":")[0].lower(): _host_of(told) for name, told in members.items()}

    def address(self, name: str) -> str:
        """The address in place of a member's."""
        topology = self._topology
        return topology.advertised(name) if topology.is_known(name) else STRANGER

    def told(self, text: str) -> str:
        """`text` with the addresses of members that it names replaced; as it is where it names none.

        A member's name without its port is looked for in sentences only: a word by itself may be anything.
        Cost: O(characters).
        """
        is_sentence = " " in text
        parts: list[str] = []
        done = 0
        for found in _WORD.finditer(text):
            told = self._word(found.group(1), found.group(0), is_sentence=is_sentence)
            if told:
                parts += (text[done : found.start()], told)
                done = found.end()
        return "".join((*parts, text[done:])) if parts else text

    def _word(self, host: str, word: str, *, is_sentence: bool) -> str:
        """What stands for one word; empty where it may stay."""
        if word != host:
            is_member = bool(self._topology.members) and self._topology.is_known(word)
            is_other = len(word) - len(host) <= _SHORTEST or _HOUR.fullmatch(host)
            return self.address(word) if is_member or not is_other else ""
        if _IPV4.fullmatch(host) or host.startswith("["):
            return _host_of(STRANGER)
        return self._hosts.get(host.lower(), "") if is_sentence else ""


def _host_of(address: str) -> str:
    return address.rpartition(":")[0]
