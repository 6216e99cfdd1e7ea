import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.keys.errors import (
    AlreadyExists,
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnsafeFile,
)
from sealwire.keys.kek import PASSPHRASE_VARIABLE, passphrase
from sealwire.keys.kek.kek import Purpose
from sealwire.keys.kek.passphrase import (
    DEFAULT_SCRYPT,
    KeyFileKek,
    ScryptParameters,
    check_strength,
    create_key_file,
    normalize,
    read_passphrase_file,
    seal,
)
from sealwire.keys.providers import find_passphrase
from sealwire.keys.strict_json import encode
from tests.keys.samples import CHEAP_SCRYPT, PASSPHRASE, edit_json
from tests.support.reasons import raising


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
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK) as caught:
        check_strength(text)
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
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK):
        check_strength(weak)


def test_a_passphrase_of_4096_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    for text in ("x" * 4096, "\u00e9" * 2048):
        assert normalize(text) == text.encode()
        assert read_passphrase_file(private(tmp_path / "p", text.encode())) == text
    with raising(KeysError, KeysReason.FILE_TOO_LARGE):
        read_passphrase_file(private(tmp_path / "p", b"x" * 4097))


def test_composed_and_decomposed_letters_are_the_same_passphrase() -> None:
    assert normalize("caf\u00e9") == normalize("cafe\u0301") == "caf\u00e9".encode()


@pytest.mark.parametrize("text", ["", "x" * 4097, "\u00e9" * 2049, "bad \udcff byte"])
def test_what_cannot_be_a_passphrase_is_refused(text: str) -> None:
    with raising(KeySettingError, KeysReason.PASSPHRASE_MISSING):
        normalize(text)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_file_holds_one_line(tmp_path: Path, end: str) -> None:
    assert read_passphrase_file(private(tmp_path / "p", (PASSPHRASE + end).encode())) == PASSPHRASE


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe"])
def test_other_files_hold_no_passphrase(tmp_path: Path, content: bytes) -> None:
    with raising(KeySettingError, KeysReason.PASSPHRASE_MISSING):
        read_passphrase_file(private(tmp_path / "p", content))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "p", PASSPHRASE.encode())
    path.chmod(0o640)
    with raising(UnsafeFile, KeysReason.FILE_PERMISSIONS):
        read_passphrase_file(path)


def test_the_environment_gives_a_passphrase_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_passphrase(None, {PASSPHRASE_VARIABLE: PASSPHRASE}) == PASSPHRASE
    with raising(KeySettingError, KeysReason.PASSPHRASE_MISSING):
        find_passphrase(None, {PASSPHRASE_VARIABLE: ""})
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PASSPHRASE)
    assert find_passphrase(None) == PASSPHRASE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "kek.json"
    create_key_file(path, PASSPHRASE, CHEAP_SCRYPT)
    return path


def refusal(
    path: Path, passphrase: str = PASSPHRASE, *, reason: KeysReason, kind: type[KeysError] = KeysError
) -> None:
    with raising(kind, reason) as caught:
        KeyFileKek(path, passphrase)
    assert passphrase not in str(caught.value) + caught.value.hint


def test_the_passphrase_opens_the_file_with_the_default_cost(tmp_path: Path) -> None:
    path = tmp_path / "kek.json"
    kek_id = create_key_file(path, PASSPHRASE)
    assert KeyFileKek(path, PASSPHRASE).id == kek_id
    assert json.loads(path.read_bytes())["scrypt"].keys() == {"n", "r", "p", "salt"}
    assert ScryptParameters(n=131072, r=8, p=1) == DEFAULT_SCRYPT
    assert json.loads(path.read_bytes())["scrypt"]["n"] == 131072


def test_the_file_is_private(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    refusal(path, reason=KeysReason.FILE_PERMISSIONS)


def test_every_file_has_its_own_key(tmp_path: Path) -> None:
    ids = {create_key_file(tmp_path / name, PASSPHRASE, CHEAP_SCRYPT) for name in ("a", "b")}
    assert len(ids) == 2


def test_what_one_opening_wraps_the_next_unwraps(path: Path) -> None:
    wrapped = KeyFileKek(path, PASSPHRASE).wrap(b"key", b"ad")
    assert KeyFileKek(path, PASSPHRASE).unwrap(wrapped, b"ad") == b"key"


def test_another_passphrase_is_wrong(path: Path) -> None:
    refusal(path, PASSPHRASE + "x", kind=KekDenied, reason=KeysReason.PASSPHRASE_WRONG)


def test_a_weak_passphrase_makes_no_file(tmp_path: Path) -> None:
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK):
        create_key_file(tmp_path / "kek.json", "too short", CHEAP_SCRYPT)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(AlreadyExists):
        create_key_file(path, PASSPHRASE, CHEAP_SCRYPT)
    assert path.read_bytes() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_is_noticed(path: Path, data: st.DataObject) -> None:
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != original[at]))
    altered = path.with_name("altered")
    altered.write_bytes(original[:at] + bytes((byte,)) + original[at + 1 :])
    altered.chmod(0o600)
    with pytest.raises((DamagedFile, KekDenied)):
        KeyFileKek(altered, PASSPHRASE)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("n", 1 << 11, KeysReason.PASSPHRASE_WRONG),
        ("n", 1023, KeysReason.SCHEMA),
        ("n", (1 << 20) - 1, KeysReason.SCRYPT_PARAMETERS),
        ("n", (1 << 20) + 1, KeysReason.SCHEMA),
        ("n", 1025, KeysReason.SCRYPT_PARAMETERS),
        ("n", 1 << 21, KeysReason.SCHEMA),
        ("r", 9, KeysReason.PASSPHRASE_WRONG),
        ("r", 0, KeysReason.SCHEMA),
        ("r", 1, KeysReason.PASSPHRASE_WRONG),
        ("r", 16, KeysReason.PASSPHRASE_WRONG),
        ("r", 17, KeysReason.SCHEMA),
        ("p", 2, KeysReason.PASSPHRASE_WRONG),
        ("p", 0, KeysReason.SCHEMA),
        ("p", 16, KeysReason.PASSPHRASE_WRONG),
        ("p", 17, KeysReason.SCHEMA),
        ("salt", "AA==", KeysReason.SCHEMA),
        ("salt", encode(bytes(31)), KeysReason.SCHEMA),
        ("salt", encode(bytes(32)), KeysReason.PASSPHRASE_WRONG),
        ("salt", encode(bytes(33)), KeysReason.SCHEMA),
        ("extra", 1, KeysReason.SCHEMA),
    ],
)
def test_parameters_are_bounded_and_authenticated(
    path: Path, field: str, value: object, reason: KeysReason
) -> None:
    edit_json(path, lambda document: document["scrypt"].update({field: value}))
    refusal(path, reason=reason)


def test_parameters_that_together_need_too_much_memory_are_refused_unused(path: Path) -> None:
    def grow(document: dict[str, Any]) -> None:
        document["scrypt"].update(n=1 << 20, r=16)

    edit_json(path, grow)
    refusal(path, kind=DamagedFile, reason=KeysReason.SCRYPT_PARAMETERS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kek_id": "local:0000000000000000"}, KeysReason.PASSPHRASE_WRONG),
        ({"wrapped": "AAAA"}, KeysReason.SCHEMA),
        ({"version": 2}, KeysReason.FORMAT_VERSION),
    ],
)
def test_the_rest_is_authenticated_too(path: Path, change: dict[str, object], reason: KeysReason) -> None:
    edit_json(path, lambda document: document.update(change))
    refusal(path, reason=reason)


def test_an_edited_but_equal_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")
    refusal(path, reason=KeysReason.TAMPERED)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refusal(tmp_path / "none", reason=KeysReason.FILE_MISSING)


def test_too_little_memory_is_not_a_wrong_passphrase(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(passphrase, "Scrypt", exhausted)
    refusal(path, kind=KekUnavailable, reason=KeysReason.MEMORY)


@pytest.mark.parametrize(
    "numbers",
    [
        *[(0, 8, 1), (1 << 9, 8, 1), (1 << 21, 1, 1), (3000, 8, 1), (1 << 20, 16, 1), (1 << 20, 9, 1)],
        *[(1 << 10, 0, 1), (1 << 10, 17, 1), (1 << 10, 1, 0), (1 << 10, 1, 17), (1 << 19, 16, 17)],
    ],
)
def test_impossible_parameters_cannot_be_made(numbers: tuple[int, int, int]) -> None:
    with raising(KeySettingError, KeysReason.SCRYPT_PARAMETERS):
        ScryptParameters(*numbers)


@pytest.mark.parametrize(
    "numbers", [(1 << 10, 1, 1), (1 << 10, 16, 16), (1 << 20, 8, 1), (1 << 20, 1, 16), (1 << 19, 16, 16)]
)
def test_parameters_at_their_bounds_can_be_made(numbers: tuple[int, int, int]) -> None:
    made = ScryptParameters(*numbers)
    assert (made.n, made.r, made.p) == numbers


def test_a_file_of_4096_bytes_is_read_and_a_longer_one_is_not(path: Path) -> None:
    original = path.read_bytes()
    path.write_bytes(original.ljust(4096))
    refusal(path, reason=KeysReason.TAMPERED)
    path.write_bytes(original.ljust(4097))
    refusal(path, reason=KeysReason.FILE_TOO_LARGE)


@pytest.mark.parametrize(
    ("length", "reason"),
    [(47, KeysReason.SCHEMA), (48, KeysReason.PASSPHRASE_WRONG), (49, KeysReason.SCHEMA)],
)
def test_a_wrapped_key_has_48_bytes(path: Path, length: int, reason: KeysReason) -> None:
    edit_json(path, lambda document: document.update(wrapped=encode(bytes(length))))
    refusal(path, reason=reason)


def test_a_secret_has_32_bytes() -> None:
    for length in (31, 33):
        with pytest.raises(ValueError, match="32"):
            seal(Purpose.KEY_FILE, "id", bytes(length), PASSPHRASE, CHEAP_SCRYPT)


def test_the_format_is_the_first(path: Path) -> None:
    assert json.loads(path.read_bytes())["version"] == 1
