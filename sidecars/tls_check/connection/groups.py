"""In which groups a server agrees on keys up to TLS 1.2: it names them in its ServerKeyExchange only.

Two questions, one connection each: with the suites of finite fields and no named field, so that the server
takes the one it was configured with; with the suites of curves and none but curves that are too small.
"""

from collections.abc import Sequence
from contextlib import closing

from sealwire.sidecars.tls_check.connection.client_hello import GROUPS, ProtocolVersion, client_hello
from sealwire.sidecars.tls_check.connection.server_answer import MAX_ANSWER_BYTES, FlightReader
from sealwire.sidecars.tls_check.connection.stream import Dial, StreamFailed, Trouble
from sealwire.sidecars.tls_check.connection.suites import Suite

MIN_FIELD_BITS = 2048
_FIRST_FIELD = 0x100
_SERVER_KEY_EXCHANGE = 12
_SERVER_HELLO_DONE = 14
_NAMED_CURVE = 3

# Curves of less than 224 bits (RFC 9325 section 4.2.1), by their numbers in IANA's registry.
_SMALL_CURVES = {
    0x13: "secp192r1",
    0x12: "secp192k1",
    0x11: "secp160r2",
    0x10: "secp160r1",
    0x0F: "secp160k1",
    0x05: "sect193r2",
    0x04: "sect193r1",
    0x03: "sect163r2",
    0x02: "sect163r1",
    0x01: "sect163k1",
}


def weak_groups(dial: Dial, version: ProtocolVersion, suites: Sequence[Suite], host: str) -> tuple[str, ...]:
    """Groups that are too small and that the server takes, in words; `suites` are those that it takes.

    Cost: two connections at most, none for TLS 1.3, which has no such groups. Raises StreamFailed TIMEOUT.
    """
    if version is ProtocolVersion.TLS13:
        return ()
    found = []
    fields = [suite.code for suite in suites if "_DHE_" in suite.name]
    if fields:
        curves = [group for group in GROUPS if group < _FIRST_FIELD]
        bits = _field_bits(_key_exchange(dial, version, fields, host, curves))
        if bits is not None and bits < MIN_FIELD_BITS:
            found.append(f"a finite field of {bits} bits")
    curved = [suite.code for suite in suites if "_ECDHE_" in suite.name]
    if curved:
        name = _curve_name(_key_exchange(dial, version, curved, host, list(_SMALL_CURVES)))
        if name is not None:
            found.append(f"the curve {name}")
    return tuple(found)


def _key_exchange(
    dial: Dial, version: ProtocolVersion, suites: Sequence[int], host: str, groups: Sequence[int]
) -> bytes:
    """The server's ServerKeyExchange; empty where it refuses, or takes no key exchange that has one."""
    flight, received = FlightReader(), 0
    try:
        with closing(dial()) as stream:
            stream.send(client_hello(version, sorted(suites, reverse=True), host, groups))
            while received < MAX_ANSWER_BYTES:
                more = stream.receive(4096)
                received += len(more)
                flight.read(more)
                if _SERVER_KEY_EXCHANGE in flight.messages:
                    return flight.messages[_SERVER_KEY_EXCHANGE]
                if not more or _SERVER_HELLO_DONE in flight.messages:
                    break
    except StreamFailed as failure:
        if failure.trouble is Trouble.TIMEOUT:
            raise
    return b""


def _field_bits(exchange: bytes) -> int | None:
    """The length of the prime (RFC 5246 section 7.4.3); None without one."""
    length = int.from_bytes(exchange[:2], "big")
    prime = exchange[2 : 2 + length]
    return int.from_bytes(prime, "big").bit_length() if len(prime) == length > 0 else None


def _curve_name(exchange: bytes) -> str | None:
    """A curve that is too small (RFC 8422 section 5.4); None for any other, and without one."""
    if len(exchange) < 3 or exchange[0] != _NAMED_CURVE:
        return None
    return _SMALL_CURVES.get(int.from_bytes(exchange[1:3], "big"))
