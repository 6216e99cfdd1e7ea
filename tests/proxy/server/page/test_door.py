"""Who gets the page and who does not, without a socket."""

import logging
import re
from dataclasses import replace
from html.parser import HTMLParser
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.page import door as door_module
from sealwire.proxy.server.page.door import (
    IDLE_S,
    LIVE,
    LOGIN,
    LOGOUT,
    LONGEST_S,
    MAX_FORM_BYTES,
    MIN_TOKEN_CHARACTERS,
    PAGE,
    WRONG_TRIES,
    WRONG_WITHIN_S,
    PageAnswer,
    PageCall,
    PageDoor,
    Token,
    Tries,
    Visits,
)
from sealwire.proxy.server.page.facts import CoveredField, PageFacts
from tests.proxy.server.page.pages import (
    METRICS,
    TOKEN,
    FixedFeed,
    HandClock,
    a_config,
    a_door,
    a_health,
    a_token,
    call,
)
from tests.support.reasons import raising
from tests.support.rows import rows

HOSTILE = "<script>alert('x')</script>&\"\u202e\x1b[31m"
FORM = f"token={TOKEN}".encode()


def headers_of(answer: PageAnswer | None) -> dict[str, str]:
    assert answer is not None
    return dict(answer.headers)


def let_in(door: PageDoor) -> str:
    """The cookie of somebody who presented the token."""
    answer = door.answer(call(LOGIN, "POST", FORM, sec_fetch_site="same-origin"))
    assert answer is not None
    assert answer.status is HTTPStatus.SEE_OTHER
    return headers_of(answer)["Set-Cookie"].partition(";")[0]


def status(door: PageDoor, path: str = PAGE, method: str = "GET", form: bytes = b"", **headers: str) -> int:
    answer = door.answer(call(path, method, form, **headers))
    assert answer is not None
    return int(answer.status)


def test_nobody_sees_the_page_before_the_token(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    for cookie in ("", "sealwire=", "sealwire=AAAA", f"sealwire={TOKEN}", "other=1; sealwire=x"):
        answer = door.answer(call(PAGE, cookie=cookie))
        assert answer is not None
        assert (answer.status, answer.body) == (HTTPStatus.SEE_OTHER, b"")
        assert headers_of(answer)["Location"] == LOGIN


def test_the_token_opens_the_page_for_a_cookie(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    cookie = let_in(door)
    answer = door.answer(call(PAGE, cookie=f"other=1; {cookie}"))
    assert answer is not None
    assert answer.status is HTTPStatus.OK
    assert b"Log out" in answer.body
    assert TOKEN.encode() not in answer.body


def test_a_cookie_is_out_of_reach_of_scripts_and_other_sites(tmp_path: Path) -> None:
    answer = a_door(tmp_path).answer(call(LOGIN, "POST", FORM))
    cookie = headers_of(answer)["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    secure = headers_of(a_door(tmp_path, tls=True).answer(call(LOGIN, "POST", FORM)))["Set-Cookie"]
    assert secure.startswith("__Host-sealwire=")
    assert "; Secure" in secure


def test_logging_out_ends_the_visit(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    cookie = let_in(door)
    answer = door.answer(call(LOGOUT, "POST", cookie=cookie, sec_fetch_site="same-origin"))
    assert "Max-Age=0" in headers_of(answer)["Set-Cookie"]
    assert status(door, cookie=cookie) == HTTPStatus.SEE_OTHER


def test_a_new_token_ends_the_visits_of_the_old_one(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    cookie = let_in(door)
    a_token(tmp_path, "f" * 32)
    assert status(door, cookie=cookie) == HTTPStatus.SEE_OTHER
    assert status(door, LOGIN, "POST", FORM) == HTTPStatus.FORBIDDEN


def test_a_program_presents_the_token_with_each_request(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    answer = door.answer(call(PAGE, authorization=f"Bearer {TOKEN}"))
    assert answer is not None
    assert answer.status is HTTPStatus.OK
    assert b"Log out" not in answer.body
    assert status(door, authorization="Bearer " + "x" * 32) == HTTPStatus.UNAUTHORIZED


def test_wrong_tokens_are_counted_by_address(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    door = a_door(tmp_path)
    with caplog.at_level(logging.DEBUG):
        for _ in range(10):
            assert status(door, LOGIN, "POST", b"token=guessed-wrongly") == HTTPStatus.FORBIDDEN
        assert status(door, LOGIN, "POST", FORM) == HTTPStatus.TOO_MANY_REQUESTS
        assert status(door, authorization=f"Bearer {TOKEN}") == HTTPStatus.TOO_MANY_REQUESTS
        assert status(door, LOGIN, "POST", FORM, peer="10.0.0.7") == HTTPStatus.SEE_OTHER
    said = "\n".join(str(vars(record)) for record in caplog.records)
    assert "a wrong token for the page" in said
    assert "guessed-wrongly" not in said
    assert TOKEN not in said


@rows(
    "form",
    *(
        b"",
        b"token=",
        b"token",
        b"other=" + TOKEN.encode(),
        FORM + b"&" + FORM,
        b"token=%00",
        b"\xff" * 50,
    ),
    *(b"a=1&" * 20 + FORM, b"token=" + b"x" * MAX_FORM_BYTES),
)
def test_a_form_without_the_token_lets_nobody_in(tmp_path: Path, form: bytes) -> None:
    assert status(a_door(tmp_path), LOGIN, "POST", form) == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("path", [LOGIN, LOGOUT])
@rows(
    "headers",
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "none"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "https://localhost:9464"},
    {"origin": "http://localhost:1"},
)
def test_forms_of_other_sites_are_not_taken(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    assert status(a_door(tmp_path), path, "POST", FORM, **headers) == HTTPStatus.FORBIDDEN


@rows(
    "host, is_ours",
    ("localhost:9464", True),
    ("127.0.0.1:8080", True),
    ("[::1]:9464", True),
    ("10.1.2.3:9464", True),
    ("sealwire.clinic.example", True),
    ("SEALWIRE.clinic.example:9464", True),
    ("evil.example:9464", False),
    ("sealwire.clinic.example.evil.example", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("[::1].evil.example", False),
    ("", False),
)
def test_a_request_names_a_host_of_ours(tmp_path: Path, host: str, *, is_ours: bool) -> None:
    door = a_door(tmp_path, tls=True, name="sealwire.clinic.example")
    for path in ("/", PAGE, LOGIN):
        assert (status(door, path, host=host) != HTTPStatus.MISDIRECTED_REQUEST) is is_ours


@rows(
    "method, path",
    ("POST", PAGE),
    ("POST", "/"),
    ("GET", LOGOUT),
    ("PUT", LOGIN),
    ("HEAD", PAGE),
    ("DELETE", PAGE),
)
def test_what_changes_nothing_is_read_only(tmp_path: Path, method: str, path: str) -> None:
    assert status(a_door(tmp_path), path, method, FORM) == HTTPStatus.METHOD_NOT_ALLOWED


@rows("path", "/metrics", "/page/", "/page/../page", "//page", "/PAGE", "/page/secret", "")
def test_other_paths_are_not_the_pages(tmp_path: Path, path: str) -> None:
    assert a_door(tmp_path).answer(call(path)) is None


def test_a_certificate_opens_the_page_and_without_a_token_nothing_else_does(tmp_path: Path) -> None:
    door = a_door(tmp_path, tls=True, token=False)
    assert status(door) == HTTPStatus.FORBIDDEN
    assert status(door, authorization=f"Bearer {TOKEN}") == HTTPStatus.FORBIDDEN
    assert status(door, LOGIN, "POST", FORM) == HTTPStatus.SEE_OTHER
    answer = door.answer(replace(call(PAGE), certificate="CN=ann"))
    assert answer is not None
    assert answer.status is HTTPStatus.OK


def test_every_answer_is_kept_by_nobody_and_runs_nothing(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    cookie = let_in(door)
    for answer in (
        door.answer(call(PAGE, cookie=cookie)),
        door.answer(call(LOGIN)),
        door.answer(call(PAGE, "POST")),
        door.answer(call(PAGE, host="evil.example")),
    ):
        headers = headers_of(answer)
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer is not None
        body = answer.body.decode()
        assert not re.search(r"<(?:script|link|img|iframe|object)|\s(?:src|style|on\w+)=", body)


def test_a_page_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    feed = FixedFeed(config, away=True)
    door = PageDoor(config, a_health(), feed, a_token(tmp_path))
    assert status(door, authorization=f"Bearer {TOKEN}") == HTTPStatus.SERVICE_UNAVAILABLE


def test_visitors_cannot_keep_the_process_busy(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    feed = FixedFeed(config)
    door = PageDoor(config, a_health(), feed, a_token(tmp_path))
    assert status(door, authorization=f"Bearer {TOKEN}") == HTTPStatus.OK
    feed.away = True  # what was made a moment ago is shown again
    assert status(door, authorization=f"Bearer {TOKEN}") == HTTPStatus.OK


class Tags(HTMLParser):
    """Whether every tag is closed where it has to be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_loaded_again_only_for_those_who_ask(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    once, live = (door.answer(call(path, authorization=f"Bearer {TOKEN}")) for path in (PAGE, LIVE))
    assert once is not None
    assert live is not None
    assert "Refresh" not in dict(once.headers)
    assert dict(live.headers)["Refresh"] == "60"
    assert f'href="{LIVE}"'.encode() in once.body
    assert f'href="{PAGE}"'.encode() in live.body
    assert status(door, LIVE) == HTTPStatus.SEE_OTHER


def test_names_cannot_be_markup(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    covered = CoveredField(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    quoted = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    text = METRICS + (
        f'sealwire_commands_total{{command="{quoted}"}} 1\nsealwire_refusals_total{{reason="{quoted}"}} 1\n'
    )
    feed = FixedFeed(config, text, PageFacts((covered,), (), (), 1))
    door = PageDoor(config, replace(a_health(), in_clear=(HOSTILE,)), feed, a_token(tmp_path))
    answer = door.answer(call(PAGE, authorization=f"Bearer {TOKEN}"))
    assert answer is not None
    body = answer.body.decode()
    assert "<script" not in body
    assert not {"\u202e", "\x1b"} & set(body)
    assert body.count("&lt;script&gt;") >= 7
    Tags().feed(body)


def test_the_sections_have_addresses_of_their_own() -> None:
    assert len({panel.__name__ for panel in door_module.PANELS}) == len(door_module.PANELS) >= 8


def test_a_request_and_its_answer_can_be_shown_without_a_secret(tmp_path: Path) -> None:
    door = a_door(tmp_path)
    asked = call(LOGIN, "POST", FORM, authorization=f"Bearer {TOKEN}", cookie="sealwire=secret")
    answer = door.answer(asked)
    cookie = headers_of(answer)["Set-Cookie"].partition("=")[2].partition(";")[0]
    shown = repr(asked) + repr(answer)
    assert not [secret for secret in (TOKEN, "secret", cookie) if secret in shown]


_TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "localhost:9464",
        "[::1]",
        "[",
        "Bearer ",
        f"Basic {TOKEN}",
        f"bearer\t{TOKEN}",
        "sealwire=",
        "null",
        ";;=;",
    ]
)
_HEADERS = st.dictionaries(
    st.sampled_from(["host", "authorization", "cookie", "origin", "sec-fetch-site", "content-type"]), _TEXTS
)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", ""]),
    path=st.sampled_from(["/", PAGE, LOGIN, LOGOUT]),
    headers=_HEADERS,
    form=st.binary(max_size=200),
    peer=st.ip_addresses().map(str),
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_sent_without_the_token_shows_nothing_of_the_page(
    strangers: PageDoor, method: str, path: str, headers: dict[str, str], form: bytes, peer: str
) -> None:
    answer = strangers.answer(PageCall(method, path, headers, peer, None, form))
    assert answer is not None
    assert b"clinic.patients" not in answer.body
    assert "Set-Cookie" not in headers_of(answer) or "Max-Age=0" in headers_of(answer)["Set-Cookie"]
    for name, value in answer.headers:
        assert not {"\r", "\n"} & set(name + value)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> PageDoor:
    """A door that strangers try."""
    return a_door(tmp_path_factory.mktemp("door"))


def test_only_the_token_is_the_token(tmp_path: Path) -> None:
    token = a_token(tmp_path)
    hashed = token.is_in(TOKEN.encode())
    assert hashed is not None
    assert hashed == token.hashed()
    for wrong in (b"", TOKEN.encode()[:-1], TOKEN.encode() + b"0", TOKEN.upper().encode(), hashed):
        assert token.is_in(wrong) is None


def test_a_token_that_others_may_read_is_none(tmp_path: Path) -> None:
    a_token(tmp_path)
    (tmp_path / "token").chmod(0o640)
    with raising(PermissionProblem, StartReason.FILE_FORBIDDEN):
        Token(tmp_path / "token")
    with raising(FileProblem, StartReason.FILE_MISSING):
        Token(tmp_path / "missing")


@pytest.mark.parametrize("text", ["", "x" * (MIN_TOKEN_CHARACTERS - 1), " " * 100])
def test_a_short_token_can_be_guessed(tmp_path: Path, text: str) -> None:
    with raising(FileProblem, StartReason.TOKEN_SHORT) as caught:
        a_token(tmp_path, text)
    assert "openssl rand" in caught.value.hint


def test_without_its_file_nobody_is_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = a_token(tmp_path)
    (tmp_path / "token").unlink()
    with caplog.at_level(logging.ERROR):
        assert token.is_in(TOKEN.encode()) is None
    assert [record.getMessage() for record in caplog.records] == ["nobody is let in by token"]


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    assert repr(a_token(tmp_path)) == "Token()"


def test_a_visit_ends_when_nobody_looks_and_at_the_end_of_the_day() -> None:
    clock = HandClock()
    visits = Visits(clock)
    idle, busy = visits.begin(b"t"), visits.begin(b"t")
    begun_s = clock.now_s
    while clock.now_s - begun_s < LONGEST_S - IDLE_S:
        clock.now_s += IDLE_S - 1
        assert visits.goes_on(busy, b"t")
    assert not visits.goes_on(idle, b"t")
    clock.now_s = begun_s + LONGEST_S + 1
    assert not visits.goes_on(busy, b"t")


def test_a_visit_belongs_to_its_token() -> None:
    visits = Visits(HandClock())
    first, second = visits.begin(b"t"), visits.begin(b"t")
    assert first != second
    assert not visits.goes_on(first, b"u")
    assert not visits.goes_on(second, None)
    assert not visits.goes_on(second, b"t")


def test_visits_are_few() -> None:
    visits = Visits(HandClock())
    cookies = [visits.begin(b"t") for _ in range(100)]
    assert [visits.goes_on(cookie, b"t") for cookie in cookies].count(True) == 64
    assert visits.goes_on(cookies[-1], b"t")
    visits.end(cookies[-1])
    assert not visits.goes_on(cookies[-1], b"t")


def test_wrong_tries_lead_to_a_pause_that_ends() -> None:
    clock = HandClock()
    tries = Tries(clock)
    for _ in range(WRONG_TRIES):
        assert tries.wait_s("10.0.0.1") == 0
        tries.failed("10.0.0.1")
    assert tries.wait_s("10.0.0.1") == WRONG_WITHIN_S
    assert tries.wait_s("10.0.0.2") == 0
    clock.now_s += WRONG_WITHIN_S
    assert tries.wait_s("10.0.0.1") == 0


def test_a_network_of_ipv6_counts_as_one() -> None:
    tries = Tries(HandClock())
    for number in range(WRONG_TRIES):
        tries.failed(f"fd00::{number:x}%eth0")
    assert tries.wait_s("fd00::ffff") > 0
    assert tries.wait_s("fd00:0:0:1::1") == 0


def test_addresses_are_remembered_up_to_a_bound() -> None:
    tries = Tries(HandClock())
    for _ in range(WRONG_TRIES):
        tries.failed("192.0.2.1")
    for number in range(1024):
        tries.failed(f"10.0.{number >> 8}.{number & 255}")
    assert tries.wait_s("192.0.2.1") == 0
