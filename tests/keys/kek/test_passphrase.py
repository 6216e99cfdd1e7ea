from pathlib import Path

import pytest

from sealwire.keys.errors import KeysError, KeySettingError, KeysReason, UnsafeFile
from sealwire.keys.kek.passphrase import (
    check_strength,
    normalize,
    passphrase_from_environment,
    read_passphrase_file,
)
from tests.keys.samples import PASSPHRASE


def private(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "text",
    [PASSPHRASE, "correct horse battery staple", "k9#Vt2!mQz7@Lp4$Wx8%", "Zürich hat schöne Brücken"],
)
def test_long_and_varied_passphrases_are_accepted(text: str) -> None:
    check_strength(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nineteen-characters",
        "a" * 40,
        "abababababababababababab",
        "password password password",
        "Password1Password1Password1",
        "aaaaabbbbbcccccdddddeeeee",
        "abcdefghijklmnopqrstuvwxyz",
        "01234567890123456789012345",
        "zyxwvutsrqponmlkjihgfedcba",
        "1234567890abcdefghij",
        "j4mgTwq!" * 3,
    ],
)
def test_short_repeated_and_counting_passphrases_are_weak(text: str) -> None:
    with pytest.raises(KeySettingError) as caught:
        check_strength(text)
    assert caught.value.reason is KeysReason.PASSPHRASE_WEAK
    assert not text or text not in str(caught.value) + caught.value.hint


def test_a_long_text_repeated_is_as_good_as_once() -> None:
    check_strength("correct horse battery staple! " * 2)


@pytest.mark.parametrize(
    ("strong", "weak"),
    [
        ("adgjmpsvagmsdjpvamdp", "adgjmpsvagmsdjpvamd"),
        ("adgjmpsvagmsdjpvamdp", "adgjmpsaagmsdjpaamdp"),
        ("adgjmpsvagmsdjpvamdp" * 2, "adgjmpsvagmsdjpvamd" * 2),
        ("abcdefghijkadgjmpsva", "abcdefghijkladgjmpsv"),
        ("kjihgfedcbadgjmpsvad", "lkjihgfedcbadgjmpsva"),
    ],
    ids=["20 characters", "8 different ones", "a period of 20", "10 steps up in 20", "10 steps down in 20"],
)
def test_a_passphrase_at_the_bound_is_accepted_and_one_beyond_it_is_weak(strong: str, weak: str) -> None:
    check_strength(strong)
    with pytest.raises(KeySettingError) as caught:
        check_strength(weak)
    assert caught.value.reason is KeysReason.PASSPHRASE_WEAK


def test_a_passphrase_of_4096_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    for text in ("x" * 4096, "\u00e9" * 2048):
        assert normalize(text) == text.encode()
        assert read_passphrase_file(private(tmp_path / "p", text.encode())) == text
    with pytest.raises(KeysError) as caught:
        read_passphrase_file(private(tmp_path / "p", b"x" * 4097))
    assert caught.value.reason is KeysReason.FILE_TOO_LARGE


def test_composed_and_decomposed_letters_are_the_same_passphrase() -> None:
    assert normalize("caf\u00e9") == normalize("cafe\u0301") == "caf\u00e9".encode()


@pytest.mark.parametrize("text", ["", "x" * 4097, "\u00e9" * 2049, "bad \udcff byte"])
def test_what_cannot_be_a_passphrase_is_refused(text: str) -> None:
    with pytest.raises(KeySettingError) as caught:
        normalize(text)
    assert caught.value.reason is KeysReason.PASSPHRASE_MISSING


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_holds_one_line(tmp_path: Path, end: str) -> None:
    assert read_passphrase_file(private(tmp_path / "p", (PASSPHRASE + end).encode())) == PASSPHRASE


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_other_files_hold_no_passphrase(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(KeySettingError) as caught:
        read_passphrase_file(private(tmp_path / "p", content))
    assert caught.value.reason is KeysReason.PASSPHRASE_MISSING


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "p", PASSPHRASE.encode())
    path.chmod(0o640)
    with pytest.raises(UnsafeFile) as caught:
        read_passphrase_file(path)
    assert caught.value.reason is KeysReason.FILE_PERMISSIONS


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysError) as caught:
        read_passphrase_file(private(tmp_path / "p", b"x" * 5000))
    assert caught.value.reason is KeysReason.FILE_TOO_LARGE


def test_the_environment_gives_a_passphrase_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert passphrase_from_environment("P", {"P": PASSPHRASE}) == PASSPHRASE
    assert passphrase_from_environment("P", {"P": ""}) is None
    monkeypatch.setenv("P", PASSPHRASE)
    assert passphrase_from_environment("P") == PASSPHRASE
