"""Builds a ClientHello that offers exactly one protocol version and a given list of suites.

A TLS library refuses to offer what its own build or policy rules out; these bytes offer anything. Only the
server's first answer is wanted, so there is no key: for TLS 1.3 the list of key shares is empty, which the
server answers with a HelloRetryRequest that names the suite it chose (RFC 8446 section 4.2.8).
"""

import secrets
from collections.abc import Iterable, Sequence
from enum import Enum

from sealwire.crypto.host_names import server_name


class ProtocolVersion(Enum):
    """The versions that are looked for, oldest first; the value is the number on the wire."""

    TLS10 = 0x0301
    TLS11 = 0x0302
    TLS12 = 0x0303
    TLS13 = 0x0304

    @property
    def label(self) -> str:
        """How people write it."""
        return f"TLS 1.{self.value - 0x0301}"


_RECORD_HANDSHAKE = 22
_MESSAGE_HEAD_BYTES = 4
_CLIENT_HELLO = 1

_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_POINT_FORMATS = 11
_SIGNATURE_ALGORITHMS = 13
_PADDING = 21
_SUPPORTED_VERSIONS = 43
_PSK_MODES = 45
_KEY_SHARE = 51
_RENEGOTIATION_INFO = 0xFF01

# X25519MLKEM768, x25519, P-256, P-384, P-521, x448, ffdhe2048 to 8192: every group a server may insist on.
# Behind them brainpool, secp256k1, P-224 and P-192: a server whose certificate is of such a curve answers
# nobody else.
GROUPS = (
    *(0x11EC, 0x1D, 0x17, 0x18, 0x19, 0x1E, 0x100, 0x101, 0x102, 0x103, 0x104),
    *(0x1A, 0x1B, 0x1C, 0x16, 0x15, 0x13),
)

# From Ed25519 down to SHA-1, DSA and MD5: a server is not to refuse for want of a common signature.
_SIGNATURES = (
    *(0x0807, 0x0808, 0x0403, 0x0503, 0x0603),
    *(0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),
    *(0x0401, 0x0501, 0x0601, 0x0301, 0x0303, 0x0402, 0x0302, 0x0203, 0x0201, 0x0202, 0x0101),
)


def client_hello(
    version: ProtocolVersion, suites: Iterable[int], host: str, groups: Sequence[int] = GROUPS
) -> bytes:
    """One TLS record with a ClientHello.

    Shape:   `suites` and `groups` code points; `host` a DNS name or an address (which SNI does not carry)
    Source:  RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2 and appendix D.1
    """
    tls13 = version is ProtocolVersion.TLS13
    legacy_version = ProtocolVersion.TLS12 if tls13 else version
    session_id = secrets.token_bytes(32) if tls13 else b""
    start = (
        _number(legacy_version.value)
        + secrets.token_bytes(32)
        + _vector(session_id, 1)
        + _vector(b"".join(map(_number, suites)), 2)
        + _vector(b"\0", 1)  # no compression
    )
    extensions = _extensions(version, host, groups)
    extensions += _padding(_MESSAGE_HEAD_BYTES + len(start) + 2 + len(extensions))
    handshake = bytes((_CLIENT_HELLO,)) + _vector(start + _vector(extensions, 2), 3)
    record_version = ProtocolVersion.TLS10.value  # what servers of every age accept here
    return bytes((_RECORD_HANDSHAKE,)) + _number(record_version) + _vector(handshake, 2)


def _extensions(version: ProtocolVersion, host: str, groups: Sequence[int]) -> bytes:
    found = b""
    name = server_name(host)
    if name is not None:
        found += _extension(_SERVER_NAME, _vector(b"\0" + _vector(name, 2), 2))
    found += _extension(_SUPPORTED_GROUPS, _vector(b"".join(map(_number, groups)), 2))
    if version.value >= ProtocolVersion.TLS12.value:
        found += _extension(_SIGNATURE_ALGORITHMS, _vector(b"".join(map(_number, _SIGNATURES)), 2))
    if version is ProtocolVersion.TLS13:
        found += _extension(_SUPPORTED_VERSIONS, _vector(_number(version.value), 1))
        found += _extension(_PSK_MODES, _vector(b"\1", 1))
        found += _extension(_KEY_SHARE, _vector(b"", 2))
    else:
        found += _extension(_POINT_FORMATS, _vector(b"\0", 1))
        found += _extension(_RENEGOTIATION_INFO, _vector(b"", 1))
    return found


def _padding(length: int) -> bytes:
    """Some old load balancers hang on a ClientHello of 256 to 511 bytes; so it gets 512 (RFC 7685)."""
    if not 256 <= length < 512:
        return b""
    return _extension(_PADDING, bytes(max(0, 512 - length - 4)))


def _extension(kind: int, content: bytes) -> bytes:
    return _number(kind) + _vector(content, 2)


def _number(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _vector(content: bytes, length_bytes: int) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content
