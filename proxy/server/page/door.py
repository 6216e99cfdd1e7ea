"""What becomes of a request for the page: a redirect to the form, a refusal, or the page. No socket is here.

Attacks that it is made for.
    another site in the same browser   cookies are `SameSite=Strict`, forms are taken from this origin only
    DNS rebinding                      a request has to name a host that this address is known by
    a name that is markup              texts are escaped, and the content policy lets nothing run or load
    guessing the token                 it is long, wrong ones are counted by address, comparison is by hash
    a shared computer                  nothing is stored by the browser, and visits end
"""

import logging
import re
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol, assert_never, final
from urllib.parse import parse_qs

from sealwire.files.html.frame import render
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.health import HealthView
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.page.access import LONGEST_S, Token, Tries, Visits
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.page.panels import Cell, Code, Mark, Panel, SeenNow, WatchedNow, WatchReader
from sealwire.proxy.server.page.readings import LastHour
from sealwire.proxy.server.page.standing import audit, certificates, coverage, keys, moves, overview
from sealwire.proxy.server.page.traffic import alerts, refusals, traffic

PAGE: Final = "/page"
LOGIN: Final = "/page/login"
LOGOUT: Final = "/page/logout"
FRESH_S: Final = 1.0
"""A page that was made within this time is shown again: visitors cannot keep the process busy."""

PANELS: Final[tuple[Callable[[SeenNow], Panel], ...]] = (
    *(overview, alerts, coverage, traffic, refusals, keys, certificates, moves, audit),
)
"""The sections in their order."""

_FOLDER: Final = Path(__file__).parent
_WRONG_TOKEN: Final = "That is not the token."  # noqa: S105 - a text
_log = logging.getLogger("sealwire.server")


# Requests and answers of the page: what is known of the one, and which headers every other one has.
#
# Nothing that is shown here is kept by anybody, runs anything, or stands in another site's frame.

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


class PageFeed(Protocol):
    """What the page is made from."""

    @property
    def config(self) -> Config:
        """The configuration that counts now."""

    def render(self) -> bytes:
        """The text of /metrics. Raises TimeoutError."""

    def facts(self) -> PageFacts | None:
        """What the policy and the keyring say; None where nobody can be asked. Raises TimeoutError."""


@final
class PageDoor:
    """Answers for the paths of the page. `answer` may be called in several threads at once."""

    def __init__(
        self,
        config: Config,
        health: HealthView,
        feed: PageFeed,
        token: Token | None,
        watch: WatchReader | None = None,
    ) -> None:
        """`token` is None where only certificates count; `watch` reads what `admin.page.watch` names."""
        self._health, self._feed, self._token, self._watch = health, feed, token, watch
        self._is_tls = config.admin_tls.certificate is not None
        self._hosts = known_hosts(config)
        self._hour = LastHour(feed.render)
        self._visits, self._tries = Visits(), Tries()
        self._cookie = "__Host-sealwire" if self._is_tls else "sealwire"
        self._made: dict[bool, tuple[float, str]] = {}
        """When the page was last made, and what it was: with and without a way to log out."""
        self._lock = threading.Lock()
        self.certificate_ends: datetime | None = None
        """When the certificate of the admin address ends; set by whoever loads it."""

    def start(self) -> None:
        """Take readings from now on."""
        self._hour.start()

    def close(self) -> None:
        """Take no more."""
        self._hour.close()

    def answer(self, call: PageCall) -> PageAnswer | None:
        """What to send; None for a path that is none of the page's."""
        if call.path not in ("/", PAGE, LOGIN, LOGOUT):
            return None
        if not is_known_host(call.headers.get("host", ""), self._hosts):
            text = "The page is not known by this name. Set admin.page.name to it, if it is right."
            return self._message(HTTPStatus.MISDIRECTED_REQUEST, "Another name", text)
        match call.method, call.path:
            case "GET", "/":
                return redirect(PAGE)
            case "GET", "/page":
                return self._page(call)
            case "GET", "/page/login":
                return self._form(HTTPStatus.OK) if self._token else redirect(PAGE)
            case "POST", "/page/login":
                return self._login(call)
            case "POST", "/page/logout":
                return self._logout(call)
            case _:
                text = "This path takes another method."
                return self._message(HTTPStatus.METHOD_NOT_ALLOWED, "Not allowed", text)

    # -- who is let in ---------------------------------------------------------------------------------------

    def _page(self, call: PageCall) -> PageAnswer:
        scheme, _, presented = call.headers.get("authorization", "").partition(" ")
        if call.certificate:
            return self._shown(by_cookie=False)
        if self._token is None:
            text = "This page is for those with a client certificate that admin.tls.client_ca vouches for."
            return self._message(HTTPStatus.FORBIDDEN, "A certificate is needed", text)
        if scheme.lower() == "bearer":
            hashed, refusal = self._try(call, presented.encode("utf-8", "replace"))
            if refusal is not None:
                return refusal
            if hashed is not None:
                return self._shown(by_cookie=False)
            more = (("WWW-Authenticate", "Bearer"),)
            return self._message(HTTPStatus.UNAUTHORIZED, "Not let in", _WRONG_TOKEN, more)
        cookie = self._cookie_of(call)
        if cookie and self._visits.goes_on(cookie, self._token.hashed()):
            return self._shown(by_cookie=True)
        return redirect(LOGIN)

    def _login(self, call: PageCall) -> PageAnswer:
        if self._token is None:
            return redirect(PAGE)
        if not self._is_own_form(call):
            text = "The form did not come from this page."
            return self._message(HTTPStatus.FORBIDDEN, "Not let in", text)
        hashed, refusal = self._try(call, form_field(call.form, b"token"))
        if refusal is not None:
            return refusal
        if hashed is None:
            return self._form(HTTPStatus.FORBIDDEN, _WRONG_TOKEN)
        note(_log, logging.INFO, "somebody was let in to the page", client=call.peer)
        return redirect(PAGE, self._set_cookie(self._visits.begin(hashed), round(LONGEST_S)))

    def _logout(self, call: PageCall) -> PageAnswer:
        if not self._is_own_form(call):
            text = "The form did not come from this page."
            return self._message(HTTPStatus.FORBIDDEN, "Not logged out", text)
        self._visits.end(self._cookie_of(call))
        return redirect(LOGIN, self._set_cookie("", 0))

    def _try(self, call: PageCall, presented: bytes) -> tuple[bytes | None, PageAnswer | None]:
        """The hash of the token if it was presented; or a refusal that looks at none."""
        wait_s = self._tries.wait_s(call.peer)
        if wait_s > 0:
            more = (("Retry-After", str(round(wait_s) + 1)),)
            text = f"Too many wrong tokens from this address. Try again in {round(wait_s) + 1} seconds."
            return None, self._message(HTTPStatus.TOO_MANY_REQUESTS, "Not let in", text, more)
        hashed = None if self._token is None else self._token.is_in(presented)
        if hashed is None:
            self._tries.failed(call.peer)
            note(_log, logging.WARNING, "a wrong token for the page", client=call.peer)
        return hashed, None

    def _is_own_form(self, call: PageCall) -> bool:
        """Whether a form was sent from this origin, as browsers say. Other programs say nothing."""
        site = call.headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = call.headers.get("origin")
        scheme = "https" if self._is_tls else "http"
        return origin is None or origin.lower() == f"{scheme}://{call.headers.get('host', '').lower()}"

    def _cookie_of(self, call: PageCall) -> str:
        for part in call.headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._cookie:
                return value
        return ""

    def _set_cookie(self, value: str, age_s: int) -> Headers:
        secure = "; Secure" if self._is_tls else ""
        text = f"{self._cookie}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
        return (("Set-Cookie", text),)

    # -- what is shown ---------------------------------------------------------------------------------------

    def _shown(self, *, by_cookie: bool) -> PageAnswer:
        try:
            with self._lock:
                made_s, html = self._made.get(by_cookie, (0.0, ""))
                if not html or time.monotonic() - made_s >= FRESH_S:
                    html = self._rendered(LOGOUT if by_cookie else "")
                    self._made[by_cookie] = time.monotonic(), html
        except (TimeoutError, ValueError):
            text = "The processes do not answer. /healthz and the log say more."
            return self._message(HTTPStatus.SERVICE_UNAVAILABLE, "Nothing to show", text)
        return html_answer(HTTPStatus.OK, html)

    def _rendered(self, logout: str) -> str:
        """The page, with a button to this path; none where it is empty. Raises TimeoutError, ValueError."""
        seen = SeenNow(
            config=self._feed.config,
            health=self._health,
            readings=self._hour.take(),
            hour=self._hour,
            facts=self._feed.facts(),
            watched=self._watched(),
            certificate_ends=self.certificate_ends,
            now=datetime.now(UTC),
        )
        panels = [panel(seen) for panel in PANELS]
        return render(
            _FOLDER, "page.html.j2", title="Sealwire", panels=panels, kind=_kind, made=seen.now, logout=logout
        )

    def _watched(self) -> WatchedNow | None:
        named = self._feed.config.admin_page.watch
        return None if named is None or self._watch is None else self._watch(named)

    def _form(self, status: HTTPStatus, problem: str = "") -> PageAnswer:
        html = render(_FOLDER, "login.html.j2", title="Sealwire: log in", problem=problem, login=LOGIN)
        return html_answer(status, html)

    def _message(self, status: HTTPStatus, title: str, text: str, headers: Headers = ()) -> PageAnswer:
        html = render(_FOLDER, "message.html.j2", title=f"Sealwire: {title}", text=text)
        return html_answer(status, html, headers)


def known_hosts(config: Config) -> frozenset[str]:
    """Names by which browsers may reach the admin address, whatever the port: tunnels have others."""
    named = () if config.admin_page.name is None else (config.admin_page.name,)
    return frozenset(("localhost", config.admin.host.lower(), *named))


def is_known_host(header: str, hosts: frozenset[str]) -> bool:
    """Whether a Host header is one of `hosts`, or a numeric address, which nobody can point elsewhere."""
    host = header.lower()
    if host.startswith("["):
        numeric, _, rest = host[1:].partition("]")
        return _is_numeric(numeric) and not rest.strip(":0123456789")
    host = host.partition(":")[0]
    return host in hosts or _is_numeric(host)


def _is_numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _kind(cell: Cell) -> str:
    """How the template writes a cell down."""
    match cell:
        case Mark():
            return "mark"
        case Code():
            return "code"
        case int():
            return "number"
        case str():
            return "text"
        case _:
            assert_never(cell)
