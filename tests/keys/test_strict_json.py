from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.cli.exit_codes import exit_code
from sealwire.crypto import errors as crypto
from sealwire.keys import errors, strict_json
from sealwire.keys.errors import (
    DamagedFile,
    KekUnavailable,
    KeyDestroyed,
    KeysError,
    KeysReason,
    UnknownKey,
    UnwrapFailed,
)
from sealwire.keys.strict_json import Fields


def reason_of(action: Callable[[], object]) -> KeysReason:
    with pytest.raises(DamagedFile) as caught:
        action()
    return caught.value.reason


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b'{"a": 1} x',
        b'{"a": 1, "a": 2}',
        b'{"\xc3\xa9": 1}',
        b"[" * 100_000,
        b"9" * 5000,
    ],
)
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    assert reason_of(lambda: strict_json.parse(raw, "f")) is KeysReason.NOT_JSON


@pytest.mark.parametrize("raw", [b"[]", b"1", b'"text"', b"null"])
def test_the_whole_is_an_object(raw: bytes) -> None:
    assert reason_of(lambda: strict_json.parse(raw, "f")) is KeysReason.SCHEMA


@given(raw=st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_what_is_documented(raw: bytes) -> None:
    try:
        strict_json.parse(raw, "f")
    except DamagedFile as error:
        assert error.reason in (KeysReason.NOT_JSON, KeysReason.SCHEMA)  # noqa: PT017 - either is fine


def fields(value: object) -> Fields:
    return Fields({"x": value}, "f")


REFUSED: dict[str, Callable[[], object]] = {
    "missing": lambda: Fields({}, "f").text("x"),
    "text of a number": lambda: fields(1).text("x"),
    "text of null": lambda: fields(None).text("x"),
    "optional text of a number": lambda: fields(1).optional_text("x"),
    "optional text left out": lambda: Fields({}, "f").optional_text("x"),
    "integer of text": lambda: fields("1").integer("x", 0, 2),
    "integer of a bool": lambda: fields(True).integer("x", 0, 2),
    "integer of a float": lambda: fields(1.0).integer("x", 0, 2),
    "integer below": lambda: fields(-1).integer("x", 0, 2),
    "integer above": lambda: fields(3).integer("x", 0, 2),
    "binary of other text": lambda: fields("*").binary("x", 0, 9),
    "binary with a line end": lambda: fields("AAAA\n").binary("x", 0, 9),
    "binary not ASCII": lambda: fields("é").binary("x", 0, 9),
    "binary too short": lambda: fields("AAAA").binary("x", 4, 9),
    "binary too long": lambda: fields("AAAA").binary("x", 0, 2),
    "sequence of an object": lambda: fields({}).sequence("x", 9),
    "sequence too long": lambda: fields([1, 2]).sequence("x", 1),
    "object of a list": lambda: fields([]).object("x"),
    "unknown field": lambda: fields(1).done(),
    "other format": lambda: Fields({"format": "a", "version": 1}, "f").format("b", 1),
    "version too large": lambda: Fields({"format": "a", "version": 2**31 + 1}, "f").format("a", 1),
    "version 0": lambda: Fields({"format": "a", "version": 0}, "f").format("a", 1),
}


@pytest.mark.parametrize("action", REFUSED.values(), ids=REFUSED)
def test_each_reader_takes_one_type_within_its_bounds(action: Callable[[], object]) -> None:
    assert reason_of(action) is KeysReason.SCHEMA


def test_readers_return_what_is_there() -> None:
    whole = Fields(
        {"format": "a", "version": 1, "t": "x", "n": None, "i": 5, "b": "AAEC", "s": [1], "o": {"k": "v"}},
        "f",
    )
    whole.format("a", 1)
    assert whole.text("t") == "x"
    assert whole.optional_text("n") is None
    assert whole.integer("i", 5, 5) == 5
    assert whole.binary("b", 3, 3) == b"\0\1\2"
    assert whole.sequence("s", 1) == [1]
    inner = whole.object("o")
    assert inner.text("k") == "v"
    inner.done()
    whole.done()


def test_a_later_version_is_told_apart() -> None:
    reason = reason_of(lambda: Fields({"format": "a", "version": 2}, "f").format("a", 1))
    assert reason is KeysReason.FORMAT_VERSION


def test_values_are_not_shown() -> None:
    with pytest.raises(DamagedFile) as caught:
        fields("c2VjcmV0").integer("x", 0, 1)
    assert "c2VjcmV0" not in str(caught.value)


def test_other_bytes_of_the_same_content_are_an_alteration() -> None:
    canonical = strict_json.serialize({"a": 1})
    strict_json.require_exact(canonical, canonical, "f")
    assert reason_of(lambda: strict_json.require_exact(b'{"a":1}', canonical, "f")) is KeysReason.TAMPERED


@given(value=st.binary(max_size=100))
def test_encoded_bytes_are_read_again(value: bytes) -> None:
    assert Fields({"x": strict_json.encode(value)}, "f").binary("x", 0, 100) == value


@pytest.mark.parametrize(("high", "said"), [(1, "is not 1"), (3, "from 1 to 3")])
def test_where_one_number_is_right_it_is_named_alone(high: int, said: str) -> None:
    fields = Fields({"version": 9}, "f")
    with pytest.raises(DamagedFile) as caught:
        fields.integer("version", 1, high)
    assert said in str(caught.value)
    assert "1 to 1" not in str(caught.value)


# Every error of the room has a reason, and the process an exit code for it.


def every_class(base: type[KeysError]) -> list[type[KeysError]]:
    return [found for direct in base.__subclasses__() for found in (direct, *every_class(direct))]


CLASSES = every_class(KeysError)


def example(kind: type[KeysError]) -> KeysError:
    return UnwrapFailed() if kind is UnwrapFailed else kind(KeysReason.TAMPERED, "message", "hint")


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_reason_hint_and_a_documented_exit_code(kind: type[KeysError]) -> None:
    error = example(kind)
    assert isinstance(error.reason, KeysReason)
    assert "\n" not in str(error) + error.hint
    assert exit_code(error) in {65, 67, 69, 73, 77, 78}


def test_the_drawing_of_the_tree_names_every_class() -> None:
    assert errors.__doc__ is not None
    drawn = {line.lstrip("|-` ").split()[0] for line in errors.__doc__.splitlines() if "- " in line}
    assert drawn == {kind.__name__ for kind in CLASSES}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (crypto.InvalidEnvelope(crypto.EnvelopeReason.MAGIC), 65),
        (crypto.UnsupportedValue(crypto.ValueReason.EMPTY), 65),
        (crypto.DecryptionFailed(), 65),
        (crypto.SelfTestFailed("x"), 70),
    ],
)
def test_errors_of_the_cipher_have_exit_codes_too(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_a_destroyed_key_is_not_an_unknown_one() -> None:
    """Otherwise a proxy would load the keyring again and again for a key that cannot come back."""
    assert not issubclass(KeyDestroyed, UnknownKey)


def test_an_outage_says_when_to_try_again() -> None:
    assert KekUnavailable(KeysReason.KEK_UNREACHABLE, "m", retry_after_s=2.5).retry_after_s == 2.5
