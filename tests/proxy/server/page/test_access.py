"""Tokens, visits and wrong tries."""

import logging
from pathlib import Path

import pytest

from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.page.access import (
    IDLE_S,
    LONGEST_S,
    MIN_TOKEN_CHARACTERS,
    WRONG_TRIES,
    WRONG_WITHIN_S,
    Token,
    Tries,
    Visits,
)
from tests.proxy.server.page.pages import TOKEN, HandClock, a_token


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
    with pytest.raises(PermissionProblem) as caught:
        Token(tmp_path / "token")
    assert caught.value.reason is StartReason.FILE_FORBIDDEN
    with pytest.raises(FileProblem) as missing:
        Token(tmp_path / "missing")
    assert missing.value.reason is StartReason.FILE_MISSING


@pytest.mark.parametrize("text", ["", "x" * (MIN_TOKEN_CHARACTERS - 1), " " * 100])
def test_a_short_token_can_be_guessed(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileProblem) as caught:
        a_token(tmp_path, text)
    assert caught.value.reason is StartReason.TOKEN_SHORT
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
