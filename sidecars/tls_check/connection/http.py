"""One GET over any stream, and what the answer says of HSTS and of redirects to https."""

import http.client
import io
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from sealwire.sidecars.tls_check.certificate.certificate import printable
from sealwire.sidecars.tls_check.connection.stream import Stream, StreamFailed, Trouble

MAX_HEAD_BYTES = 1 << 16
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r?$)")
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The head of one answer."""

    status: int
    location: str
    """Where it redirects to; empty when it does not."""
    hsts: str | None
    """The Strict-Transport-Security field; None without one."""

    @property
    def redirects_to_https(self) -> bool:
        """A redirect with an https:// URL; a relative one stays on plain http."""
        return self.status in _REDIRECTS and self.location.lower().startswith("https://")

    def redirects_to(self, host: str) -> bool:
        """Whether the redirect stays on `host` (as `ascii_host` writes it), with or without `www.`."""
        try:
            target = (urlsplit(self.location).hostname or "").lower()
        except ValueError:
            return False
        return target.removeprefix("www.") == host.removeprefix("www.")

    @property
    def hsts_seconds(self) -> int | None:
        """`max-age`; None without the field or where it cannot be read (RFC 6797 section 6.1)."""
        if self.hsts is None:
            return None
        for directive in self.hsts.split(";"):
            name, _, value = directive.partition("=")
            digits = value.strip().strip('"')
            if name.strip().lower() == "max-age" and re.fullmatch("[0-9]{1,15}", digits):
                return int(digits)
        return None


def get(stream: Stream, authority: str, path: str) -> HttpAnswer:
    """Send one GET and read the head of the answer. Raises StreamFailed; PROTOCOL when it is not HTTP/1.

    Shape:   `authority` as in a URL, `host` or `host:port`; `path` starts with a slash
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sealwire\r\nAccept: */*\r\n"
    stream.send(f"{request}Connection: close\r\n\r\n".encode("ascii"))
    head = b""
    while b"\r\n\r\n" not in head:
        more = stream.receive(4096)
        if not more or len(head) > MAX_HEAD_BYTES:
            raise StreamFailed(Trouble.PROTOCOL if head or more else Trouble.CLOSED)
        head += more
    return _read(head)


def _read(head: bytes) -> HttpAnswer:
    first, _, fields = head.partition(b"\r\n")
    status = _STATUS_LINE.match(first)
    if status is None:
        raise StreamFailed(Trouble.PROTOCOL)
    try:
        parsed = http.client.parse_headers(io.BytesIO(fields))
    except http.client.HTTPException:
        raise StreamFailed(Trouble.PROTOCOL) from None
    hsts = parsed.get("Strict-Transport-Security")
    return HttpAnswer(
        int(status.group(1)),
        printable(str(parsed.get("Location", "")).strip()),
        None if hsts is None else printable(str(hsts)),
    )
