"""Requests and answers of the page: what is known of the one, and which headers every other one has.

Nothing that is shown here is kept by anybody, runs anything, or stands in another site's frame.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

MAX_FORM_BYTES: Final = 2048
_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_HTML: Final = ("Content-Type", "text/html; charset=utf-8")
_ALWAYS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PageCall:
    """One request, as far as it was read."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    """By name in small letters. They hold cookies and tokens."""
    peer: str
    """The address that it came from."""
    certificate: str | None = None
    """The subject of a client certificate that was verified."""
    form: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What to send."""

    status: HTTPStatus
    headers: Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def html_answer(status: HTTPStatus, html: str, headers: Headers = ()) -> PageAnswer:
    """A page, of which browsers are told that it runs and loads nothing."""
    policy = (
        f"default-src 'none'; style-src {_style_source(html)}; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return PageAnswer(
        status, (_HTML, ("Content-Security-Policy", policy), *_ALWAYS, *headers), html.encode("utf-8")
    )


def _style_source(html: str) -> str:
    """What the content policy lets count as style: the one sheet of a page, by its hash.

    Source: W3C, Content Security Policy Level 3, 6.7.3.3
    """
    style = _STYLE.search(html)
    hashed = sha256((style.group(1) if style else "").encode()).digest()
    return f"'sha256-{b64encode(hashed).decode()}'"


def redirect(path: str, headers: Headers = ()) -> PageAnswer:
    """To another path of this address, which is to be asked for by GET."""
    return PageAnswer(HTTPStatus.SEE_OTHER, (("Location", path), *_ALWAYS, *headers))


def form_field(form: bytes, name: bytes) -> bytes:
    """A field of a form; empty where it is not there once."""
    try:
        found = parse_qs(form[: MAX_FORM_BYTES + 1], max_num_fields=8).get(name, [])
    except ValueError:
        return b""
    return found[0] if len(found) == 1 else b""
