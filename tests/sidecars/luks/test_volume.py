"""Where a passphrase may come from, and what never happens to it."""

import os
from pathlib import Path

import pytest

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.machine import Completed
from sealwire.sidecars.luks.volume import (
    PassphraseSource,
    parse_source,
    read_passphrase,
)
from tests.sidecars.luks.test_preflight import site

STRONG = "correct horse battery staple"


def never() -> str:
    raise AssertionError("nobody was to be asked")


def descriptor_with(content: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return reading


@pytest.mark.parametrize(
    ("setting", "source"),
    [
        ("prompt", PassphraseSource("prompt")),
        ("fd:3", PassphraseSource("fd", "3")),
        ("file:/a:b", PassphraseSource("file", "/a:b")),
        ("systemd-creds:/x", PassphraseSource("systemd-creds", "/x")),
    ],
)
def test_the_forms(setting: str, source: PassphraseSource) -> None:
    assert parse_source(setting) == source


@pytest.mark.parametrize(
    "setting", ["", "fd", "fd:", "fd:x", "fd:-1", "fd:12345678", "file:", STRONG, "prompt:x"]
)
def test_what_is_not_understood_is_not_shown(setting: str) -> None:
    with pytest.raises(Unusable) as caught:
        parse_source(setting)
    assert caught.value.reason is LuksReason.SECRET_SOURCE
    assert STRONG not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_from_a_descriptor_without_its_line_end(end: bytes) -> None:
    number = descriptor_with(STRONG.encode() + end)
    source = parse_source(f"fd:{number}")
    assert read_passphrase(source, site(), never, is_new=True) == STRONG.encode()
    os.close(number)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines of it that are long", b"\xff" * 30, b"x" * 5000]
)
def test_what_is_no_line_of_text_is_refused(content: bytes) -> None:
    number = descriptor_with(content)
    with pytest.raises(KeySettingError) as caught:
        read_passphrase(parse_source(f"fd:{number}"), site(), never)
    assert caught.value.reason is KeysReason.PASSPHRASE_MISSING
    os.close(number)


def test_a_descriptor_that_is_not_open_is_an_error_of_the_setting() -> None:
    number = descriptor_with(b"")
    os.close(number)
    with pytest.raises(Unusable) as caught:
        read_passphrase(parse_source(f"fd:{number}"), site(), never)
    assert caught.value.reason is LuksReason.SECRET_SOURCE


def test_from_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(STRONG + "\n")
    assert read_passphrase(parse_source(f"file:{path}"), site(), never) == STRONG.encode()


def test_from_a_credential_of_systemd() -> None:
    machine = site()
    machine.answers["systemd-creds decrypt /x -"] = Completed(0, STRONG.encode())
    assert read_passphrase(parse_source("systemd-creds:/x"), machine, never) == STRONG.encode()
    machine.answers["systemd-creds decrypt /x -"] = Completed(1, b"", b"bad")
    with pytest.raises(Unusable):
        read_passphrase(parse_source("systemd-creds:/x"), machine, never)


def test_a_new_passphrase_has_to_be_strong_an_old_one_need_not() -> None:
    assert read_passphrase(parse_source("prompt"), site(), lambda: "weak") == b"weak"
    with pytest.raises(KeySettingError) as caught:
        read_passphrase(parse_source("prompt"), site(), lambda: "weak", is_new=True)
    assert caught.value.reason is KeysReason.PASSPHRASE_WEAK


def test_the_same_letters_are_the_same_passphrase() -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    assert read_passphrase(parse_source("prompt"), site(), lambda: composed) == read_passphrase(
        parse_source("prompt"), site(), lambda: decomposed
    )
