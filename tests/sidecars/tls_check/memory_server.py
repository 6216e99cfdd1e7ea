"""A real TLS server (OpenSSL of the ssl module) without a socket: a Stream whose other end it is."""

import ssl
from pathlib import Path

from sealwire.sidecars.tls_check.handshake import StreamFailed, Trouble

CHUNK = 1 << 16


def server_context(
    pem: Path,
    *,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    suites: str = "ECDHE+AESGCM",
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = minimum, maximum
    context.set_ciphers(suites)
    context.load_cert_chain(pem)
    return context


class MemoryServer:
    """Answers `reply` to the first application data; ends when the client is refused."""

    def __init__(self, context: ssl.SSLContext, reply: bytes = b"") -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._reply = reply
        self._established = False
        self._ended = False
        self.closed = False
        self.received = b""

    def send(self, content: bytes) -> None:
        self._incoming.write(content)
        try:
            if not self._established:
                self._tls.do_handshake()
                self._established = True
            self.received += self._tls.read(CHUNK)
            if self._reply:
                self._tls.write(self._reply)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError:
            self._ended = True

    def receive(self, max_bytes: int) -> bytes:
        content = self._outgoing.read(max_bytes)
        if not content and not self._ended:
            raise StreamFailed(Trouble.TIMEOUT)  # it waits for the client, and would for ever
        return content

    def close(self) -> None:
        self.closed = True
