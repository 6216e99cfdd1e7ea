"""What becomes of a request for the page: a redirect to the form, a refusal, or the page. No socket is here.

Attacks that it is made for.
    another site in the same browser   cookies are `SameSite=Strict`, forms are taken from this origin only
    DNS rebinding                      a request has to name a host that this address is known by
    a name that is markup              texts are escaped, and the content policy lets nothing run or load
    guessing the token                 it is long, wrong ones are counted by address, comparison is by hash
    a shared computer                  nothing is stored by the browser, and visits end
"""

import hmac
import logging
import re
import secrets
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol, assert_never, final
from urllib.parse import parse_qs

from sealwire.crypto.host_names import as_address, whose_address
from sealwire.files.html.frame import Mark, render
from sealwire.keys.errors import KeysError, KeySettingError
from sealwire.keys.private_file import read_private
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.health import HealthView
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.page import panels
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.page.standing import (
    alerts,
    audit,
    certificates,
    coverage,
    keys,
    lamps,
    moves,
    observed,
    overview,
    plots,
    refusals,
    traffic,
    verdict,
)

PAGE: Final = "/page"
LIVE: Final = "/page/live"
"""The same, loaded again every minute: somebody has asked for that, and leaves it by a link."""
LOGIN: Final = "/page/login"
LOGOUT: Final = "/page/logout"
AGAIN: Final = (("Refresh", "60"),)
FRESH_S: Final = 1.0
"""A page that was made within this time is shown again: visitors cannot keep the process busy."""

PANELS: Final[tuple[Callable[[panels.SeenNow], panels.Panel], ...]] = (
    *(overview, observed, alerts, coverage, traffic, refusals, keys, certificates, moves, audit),
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


# Who is let in: a token that is presented once, then a cookie for a while; or a token with each request.
#
# Tokens and cookies are compared by their hashes, in constant time, so that neither their length nor
# their beginning shows. Nothing here has a `repr` with either. All methods are for any thread.

MIN_TOKEN_CHARACTERS: Final = 32
IDLE_S: Final = 1800.0
LONGEST_S: Final = 8 * 3600.0
WRONG_TRIES: Final = 10
WRONG_WITHIN_S: Final = 300.0

_MAX_TOKEN_BYTES: Final = 1024
_MAX_VISITS: Final = 64
_MAX_PEERS: Final = 1024

Clock = Callable[[], float]


@final
class Token:
    """The secret in a file. The file is read for each request, so that a new token counts at once."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises FileProblem, PermissionProblem."""
        self._path = path
        try:
            self._read()
        except KeySettingError as error:
            raise FileProblem(StartReason.FILE_MISSING, str(error), error.hint) from None
        except KeysError as error:
            raise PermissionProblem(StartReason.FILE_FORBIDDEN, str(error), error.hint) from None

    def __repr__(self) -> str:
        return "Token()"

    def hashed(self) -> bytes | None:
        """The hash of what the file holds now; None, with a line in the log, where it cannot be had."""
        try:
            return self._read()
        except (FileProblem, KeysError) as error:
            note(_log, logging.ERROR, "nobody is let in by token", problem=str(error), hint=error.hint)
            return None

    def is_in(self, presented: bytes) -> bytes | None:
        """The hash of the token if `presented` is the token. Cost: one small file."""
        hashed = self.hashed()
        found = sha256(presented.strip()).digest()
        return hashed if hashed is not None and hmac.compare_digest(found, hashed) else None

    def _read(self) -> bytes:
        token = read_private(self._path, _MAX_TOKEN_BYTES).strip()
        if len(token) < MIN_TOKEN_CHARACTERS:
            raise FileProblem(
                StartReason.TOKEN_SHORT,
                f"{self._path}: a token has {MIN_TOKEN_CHARACTERS} characters at least",
                f"(umask 077; openssl rand -hex 32 > {self._path})",
            )
        return sha256(token).digest()


@dataclass(slots=True)
class _Visit:
    token: bytes
    """The hash of the token that opened it: it ends when that token counts no more."""
    begun_s: float
    seen_s: float


@final
class Visits:
    """Who has presented the token: by a cookie of 32 random bytes, of which only the hash is kept."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._visits: OrderedDict[bytes, _Visit] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, token: bytes) -> str:
        """A new cookie. Beyond 64 visits the one that began first ends."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        with self._lock:
            while len(self._visits) >= _MAX_VISITS:
                self._visits.popitem(last=False)
            self._visits[sha256(cookie.encode()).digest()] = _Visit(token, now, now)
        return cookie

    def goes_on(self, cookie: str, token: bytes | None) -> bool:
        """Whether a cookie counts: within half an hour of its last use, and eight hours of its first."""
        key, now = sha256(cookie.encode()).digest(), self._clock()
        with self._lock:
            found = self._visits.get(key)
            if found is None:
                return False
            is_late = now - found.seen_s > IDLE_S or now - found.begun_s > LONGEST_S
            if is_late or token is None or not hmac.compare_digest(found.token, token):
                del self._visits[key]
                return False
            found.seen_s = now
            return True

    def end(self, cookie: str) -> None:
        """The cookie counts no more."""
        with self._lock:
            self._visits.pop(sha256(cookie.encode()).digest(), None)


@final
class Tries:
    """Wrong tokens by address: a few, then a pause. A network of IPv6 counts as one address."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, peer: str) -> float:
        """How long this peer has to wait before a token of its is looked at; 0 for not at all."""
        with self._lock:
            recent = self._recent(whose_address(peer))
            return 0.0 if len(recent) < WRONG_TRIES else recent[0] + WRONG_WITHIN_S - self._clock()

    def failed(self, peer: str) -> None:
        """A token was wrong. Beyond 1024 addresses the one that was met first is forgotten."""
        with self._lock:
            key = whose_address(peer)
            recent = self._recent(key)
            self._wrong[key] = [*recent, self._clock()][-WRONG_TRIES:]
            self._wrong.move_to_end(key)
            while len(self._wrong) > _MAX_PEERS:
                self._wrong.popitem(last=False)

    def _recent(self, key: str) -> list[float]:
        since = self._clock() - WRONG_WITHIN_S
        return [at for at in self._wrong.get(key, ()) if at > since]


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
    """The source of the page: a process that serves alone, or a supervisor. Any thread may ask it."""

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
        watch: panels.WatchReader | None = None,
    ) -> None:
        """`token` is None where only certificates count; `watch` reads what `admin.page.watch` names."""
        self._health, self._feed, self._token, self._watch = health, feed, token, watch
        self._is_tls = config.admin_tls.certificate is not None
        self._hosts = known_hosts(config)
        self._hour = panels.LastHour(feed.render)
        self._visits, self._tries = Visits(), Tries()
        self._cookie = "__Host-sealwire" if self._is_tls else "sealwire"
        self._made: dict[tuple[bool, str], tuple[float, str]] = {}
        """When the page was last made, and what it was: with and without a way to log out, by path."""
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
        if call.path not in ("/", PAGE, LIVE, LOGIN, LOGOUT):
            return None
        if not is_known_host(call.headers.get("host", ""), self._hosts):
            text = "The page is not known by this name. Set admin.page.name to it, if it is right."
            return self._message(HTTPStatus.MISDIRECTED_REQUEST, "Another name", text)
        match call.method, call.path:
            case "GET", "/":
                return redirect(PAGE)
            case "GET", "/page" | "/page/live":
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
            return self._shown(call.path, by_cookie=False)
        if self._token is None:
            text = "This page is for those with a client certificate that admin.tls.client_ca vouches for."
            return self._message(HTTPStatus.FORBIDDEN, "A certificate is needed", text)
        if scheme.lower() == "bearer":
            hashed, refusal = self._try(call, presented.encode("utf-8", "replace"))
            if refusal is not None:
                return refusal
            if hashed is not None:
                return self._shown(call.path, by_cookie=False)
            more = (("WWW-Authenticate", "Bearer"),)
            return self._message(HTTPStatus.UNAUTHORIZED, "Not let in", _WRONG_TOKEN, more)
        cookie = self._cookie_of(call)
        if cookie and self._visits.goes_on(cookie, self._token.hashed()):
            return self._shown(call.path, by_cookie=True)
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

    def _shown(self, path: str, *, by_cookie: bool) -> PageAnswer:
        again = AGAIN if path == LIVE else ()
        try:
            with self._lock:
                made_s, html = self._made.get((by_cookie, path), (0.0, ""))
                if not html or time.monotonic() - made_s >= FRESH_S:
                    html = self._rendered(path, LOGOUT if by_cookie else "")
                    self._made[by_cookie, path] = time.monotonic(), html
        except (TimeoutError, ValueError):
            text = "The processes do not answer. /healthz and the log say more."
            return self._message(HTTPStatus.SERVICE_UNAVAILABLE, "Nothing to show", text, again)
        return html_answer(HTTPStatus.OK, html, again)

    def _rendered(self, path: str, logout: str) -> str:
        """The page at `path`, with a button to `logout` unless that is empty.

        Raises TimeoutError, ValueError.
        """
        seen = panels.SeenNow(
            config=self._feed.config,
            health=self._health.now(),
            readings=self._hour.take(),
            hour=self._hour,
            facts=self._feed.facts(),
            watched=self._watched(),
            certificate_ends=self.certificate_ends,
            now=datetime.now(UTC),
        )
        shown_panels = [panel(seen) for panel in PANELS]
        shown = lamps(seen, shown_panels)
        state = verdict(seen, shown)
        values = {"state": state, "lamps": shown, "plots": plots(seen), "panels": shown_panels, "kind": _kind}
        paths = {"is_live": path == LIVE, "page": PAGE, "live": LIVE, "logout": logout}
        title = f"Sealwire: {state.text}"
        return render(_FOLDER, "page.html.j2", title=title, made=seen.now, **values, **paths)

    def _watched(self) -> panels.WatchedNow | None:
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
        return as_address(numeric) is not None and not rest.strip(":0123456789")
    host = host.partition(":")[0]
    return host in hosts or as_address(host) is not None


def _kind(cell: panels.Cell) -> str:
    """How the template writes a cell down."""
    match cell:
        case Mark():
            return "mark"
        case panels.Code():
            return "code"
        case int():
            return "number"
        case str():
            return "text"
        case _:
            assert_never(cell)
