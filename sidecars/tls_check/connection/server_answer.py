"""Reads the first answer to a ClientHello: what the server chose, an alert, or something that is not TLS."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import final

from sealwire.sidecars.tls_check.connection.stream import StreamFailed, Trouble

MAX_ANSWER_BYTES = 1 << 16
"""More than four full records; a ServerHello has some hundred bytes."""

_ALERT = 21
_HANDSHAKE = 22
_SERVER_HELLO = 2
_MAX_RECORD_BYTES = 1 << 14  # plaintext records, RFC 8446 section 5.1
_MAX_SERVER_HELLO_BYTES = 1 << 14
_SUPPORTED_VERSIONS = 43


@dataclass(frozen=True, slots=True)
class Choice:
    """The server takes the offer. A HelloRetryRequest counts: it names version and suite as well."""

    version: int
    suite: int


class Rejection(Enum):
    """The server does not take the offer."""

    ALERT = "alert"
    NOT_TLS = "the bytes are no answer to a ClientHello"


class _Malformed(Exception):
    """The bytes break the structure that the RFC gives them."""


@final
class AnswerReader:
    """Reads the first answer as it arrives, each byte once."""

    def __init__(self) -> None:
        self._arrived = bytearray()
        self._messages = bytearray()

    def read(self, more: bytes) -> Choice | Rejection | None:
        """The server's answer; None while more bytes are needed.

        Source:  RFC 5246 sections 6.2.1, 7.2, 7.4.1.3; RFC 8446 sections 4.1.3, 4.2.1, 5.1
        """
        self._arrived += more
        try:
            for kind, content in _records(self._arrived):
                if kind == _ALERT:
                    return Rejection.ALERT if len(content) == 2 else Rejection.NOT_TLS
                self._messages += content
                choice = _server_hello(self._messages)
                if choice is not None:
                    return choice
        except _Malformed:
            return Rejection.NOT_TLS
        return None


@final
class FlightReader:
    """Reads a server's flight without encryption as it arrives, each byte once."""

    def __init__(self) -> None:
        self._arrived = bytearray()
        self._content = bytearray()
        self.messages: dict[int, bytes] = {}
        """The whole messages of the handshake so far, the first of each type."""

    def read(self, more: bytes) -> None:
        """Take in what has arrived.

        Source:  RFC 5246 sections 6.2.1 and 7.4. Raises StreamFailed ALERT, and PROTOCOL for what is no TLS.
        """
        self._arrived += more
        try:
            for kind, content in _records(self._arrived):
                if kind == _ALERT:
                    raise StreamFailed(Trouble.ALERT)
                self._content += content
                self._take_messages()
        except _Malformed:
            raise StreamFailed(Trouble.PROTOCOL) from None

    def _take_messages(self) -> None:
        content = self._content
        while len(content) >= 4:
            end = 4 + int.from_bytes(content[1:4], "big")
            if len(content) < end:
                break
            self.messages.setdefault(content[0], bytes(content[4:end]))
            del content[:end]


def _records(arrived: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes whole records out of what has arrived: alerts and parts of a handshake. Raises _Malformed."""
    while len(arrived) >= 5:
        kind, major, length = arrived[0], arrived[1], int.from_bytes(arrived[3:5], "big")
        if major != 3 or kind not in (_ALERT, _HANDSHAKE) or not 0 < length <= _MAX_RECORD_BYTES:
            raise _Malformed
        if len(arrived) < 5 + length:
            return
        content = bytes(arrived[5 : 5 + length])
        del arrived[: 5 + length]
        yield kind, content
    # A first byte is enough to tell that something else is speaking.
    if arrived and arrived[0] not in (_ALERT, _HANDSHAKE):
        raise _Malformed


def _server_hello(messages: bytearray) -> Choice | None:
    if messages[0] != _SERVER_HELLO:
        raise _Malformed
    if len(messages) < 4:
        return None
    length = int.from_bytes(messages[1:4], "big")
    if length > _MAX_SERVER_HELLO_BYTES:
        raise _Malformed
    if len(messages) < 4 + length:
        return None
    body = BytesIO(messages[4 : 4 + length])
    version = _number(body, 2)
    _take(body, 32)
    _take(body, _number(body, 1))
    suite = _number(body, 2)
    _take(body, 1)
    if body.tell() < length:
        version = _selected_version(BytesIO(_take(body, _number(body, 2))), version)
    return Choice(version, suite)


def _selected_version(extensions: BytesIO, legacy_version: int) -> int:
    while kind := extensions.read(2):
        content = _take(extensions, _number(extensions, 2))
        if int.from_bytes(kind, "big") == _SUPPORTED_VERSIONS:
            return _number(BytesIO(content), 2)
    return legacy_version


def _take(source: BytesIO, count: int) -> bytes:
    taken = source.read(count)
    if len(taken) < count:
        raise _Malformed
    return taken


def _number(source: BytesIO, count: int) -> int:
    return int.from_bytes(_take(source, count), "big")
