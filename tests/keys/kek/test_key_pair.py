import copy
import hmac
import json
import pickle
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import exceptions as token_errors

from sealwire.keys.errors import (
    AlreadyExists,
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnsafeFile,
    UnwrapFailed,
)
from sealwire.keys.kek import key_pair
from sealwire.keys.kek.key_pair import (
    PrivateKey,
    PublicKey,
    create_key_pair,
    load_private_key,
    load_public_key,
    public_path,
)
from sealwire.keys.kek.pkcs11 import PIN_VARIABLE, TokenKek, TokenUri, _translated, parse_uri
from sealwire.keys.strict_json import encode
from tests.keys.kek_contract import AD, KEY
from tests.keys.samples import CHEAP_SCRYPT, PASSPHRASE, edit_json
from tests.support.reasons import raising

# HPKE's base mode from the text of RFC 9180, sections 4 and 5, to check that our files are what it says.


KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
HPKE_SUITE = b"HPKE" + (0x0020).to_bytes(2, "big") + (0x0001).to_bytes(2, "big") + (0x0002).to_bytes(2, "big")


def extract(salt: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), material, sha256)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(key, block + info + bytes((counter,)), sha256)
        out, counter = out + block, counter + 1
    return out[:length]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + material)


def labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def open_base(private: bytes, wrapped: bytes, info: bytes) -> bytes:
    """What HPKE's single-shot SealBase put into `wrapped`: encapsulated key, then ciphertext."""
    encapsulated, ciphertext = wrapped[:32], wrapped[32:]
    own = X25519PrivateKey.from_private_bytes(private)
    shared = own.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    context = encapsulated + own.public_key().public_bytes_raw()
    eae = labeled_extract(KEM_SUITE, b"", b"eae_prk", shared)
    secret = labeled_expand(KEM_SUITE, eae, b"shared_secret", context, 32)
    schedule = (
        b"\x00"
        + labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
        + labeled_extract(HPKE_SUITE, b"", b"info_hash", info)
    )
    final = labeled_extract(HPKE_SUITE, secret, b"secret", b"")
    key = labeled_expand(HPKE_SUITE, final, b"key", schedule, 32)
    nonce = labeled_expand(HPKE_SUITE, final, b"base_nonce", schedule, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, b"")


RAW = bytes(range(32))
PRIVATE = PrivateKey(RAW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "backup-key"
    create_key_pair(path, PASSPHRASE, CHEAP_SCRYPT)
    return path


@given(key=st.binary(min_size=1, max_size=1024), bound=st.binary(max_size=100))
def test_what_the_public_half_wraps_the_private_half_unwraps(key: bytes, bound: bytes) -> None:
    wrapped = PRIVATE.public.wrap(key, bound)
    assert PRIVATE.unwrap(wrapped, bound) == key
    assert len(wrapped) == len(key) + 48


@given(key=st.binary(min_size=1, max_size=100), bound=st.binary(max_size=100))
def test_it_is_hpke_as_rfc_9180_says(key: bytes, bound: bytes) -> None:
    assert open_base(RAW, PRIVATE.public.wrap(key, bound), bound) == key


@given(data=st.data())
def test_a_changed_bit_does_not_open(data: st.DataObject) -> None:
    wrapped = bytearray(PRIVATE.public.wrap(b"key", b"bound"))
    # The top bit of the encapsulated key is not part of a number on the curve (RFC 7748 section 5), but it is
    # part of what the key is derived from.
    bit = data.draw(st.integers(0, len(wrapped) * 8 - 1))
    wrapped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnwrapFailed):
        PRIVATE.unwrap(bytes(wrapped), b"bound")


@pytest.mark.parametrize("wrapped", [b"", bytes(48), bytes(49), bytes(60), b"\x01" + bytes(59), bytes(2000)])
def test_what_was_never_wrapped_does_not_open(wrapped: bytes) -> None:
    with pytest.raises(UnwrapFailed):
        PRIVATE.unwrap(wrapped, b"")


def test_another_key_or_another_binding_does_not_open() -> None:
    wrapped = PRIVATE.public.wrap(b"key", b"bound")
    for private, bound in ((PrivateKey(bytes(range(1, 33))), b"bound"), (PRIVATE, b"other")):
        with pytest.raises(UnwrapFailed):
            private.unwrap(wrapped, bound)


@pytest.mark.parametrize("length", [1, 1024])
def test_keys_of_each_possible_length_are_wrapped(length: int) -> None:
    assert PRIVATE.unwrap(PRIVATE.public.wrap(bytes(length), b""), b"") == bytes(length)


@pytest.mark.parametrize("length", [0, 1025])
def test_what_another_program_wrapped_of_an_impossible_length_does_not_open(length: int) -> None:
    wrapped = key_pair._SUITE.encrypt(bytes(length), PRIVATE.public._key, b"")
    with pytest.raises(UnwrapFailed):
        PRIVATE.unwrap(wrapped, b"")


def test_wrapping_never_repeats_itself_and_lengths_are_bounded() -> None:
    assert PRIVATE.public.wrap(b"key", b"") != PRIVATE.public.wrap(b"key", b"")
    for key in (b"", bytes(1025)):
        with pytest.raises(ValueError, match="bytes"):
            PRIVATE.public.wrap(key, b"")


def test_neither_half_shows_or_copies_the_key() -> None:
    assert repr(PRIVATE) == f"PrivateKey(id='{PRIVATE.id}')"
    assert repr(PRIVATE.public) == f"PublicKey(id='{PRIVATE.id}')"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(PRIVATE)


def test_a_pair_of_files_belongs_together(path: Path) -> None:
    public, private = load_public_key(public_path(path)), load_private_key(path, PASSPHRASE)
    assert public.id == private.id
    assert private.unwrap(public.wrap(b"key", b""), b"") == b"key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path(path).stat().st_mode) == 0o644


def test_both_files_have_the_first_format_and_the_id_that_is_returned(tmp_path: Path) -> None:
    key_id = create_key_pair(tmp_path / "k", PASSPHRASE, CHEAP_SCRYPT)
    for path in (tmp_path / "k", public_path(tmp_path / "k")):
        document = json.loads(path.read_bytes())
        assert (document["version"], document["id"]) == (1, key_id)


@pytest.mark.parametrize(
    ("length", "reason"), [(4096, KeysReason.TAMPERED), (4097, KeysReason.FILE_TOO_LARGE)]
)
def test_files_are_read_up_to_4096_bytes(path: Path, length: int, reason: KeysReason) -> None:
    for file in (path, public_path(path)):
        file.write_bytes(file.read_bytes().ljust(length))
    with raising(DamagedFile, reason):
        load_private_key(path, PASSPHRASE)
    with raising(DamagedFile, reason):
        load_public_key(public_path(path))


@pytest.mark.parametrize(
    ("half", "change", "kind", "reason"),
    [
        ("public", {"public": encode(bytes(31))}, DamagedFile, KeysReason.SCHEMA),
        ("public", {"public": encode(bytes(33))}, DamagedFile, KeysReason.SCHEMA),
        ("public", {"id": PublicKey(PRIVATE.public.raw).id}, DamagedFile, KeysReason.SCHEMA),
        ("public", 0o664, UnsafeFile, KeysReason.FILE_PERMISSIONS),
        ("private", {"id": PRIVATE.id}, KekDenied, KeysReason.PASSPHRASE_WRONG),
        ("private", 0o644, UnsafeFile, KeysReason.FILE_PERMISSIONS),
    ],
    ids=["31 bytes", "33 bytes", "exchanged", "others can write", "another's id", "others can read"],
)
def test_a_half_that_was_changed_is_refused(
    path: Path, half: str, change: dict[str, object] | int, kind: type[KeysError], reason: KeysReason
) -> None:
    file = public_path(path) if half == "public" else path
    if isinstance(change, int):
        file.chmod(change)
    else:
        edit_json(file, lambda document: document.update(change))
    with raising(kind, reason):
        load_public_key(file) if half == "public" else load_private_key(file, PASSPHRASE)


def test_a_wrong_passphrase_is_refused(path: Path) -> None:
    with pytest.raises(KekDenied):
        load_private_key(path, PASSPHRASE + "x")


def test_halves_are_not_taken_for_each_other(path: Path) -> None:
    with pytest.raises(DamagedFile):
        load_public_key(path)


def test_nothing_is_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(AlreadyExists):
        create_key_pair(path, PASSPHRASE, CHEAP_SCRYPT)
    assert path.read_bytes() == before


def test_a_weak_passphrase_makes_no_file(tmp_path: Path) -> None:
    with raising(KeySettingError, KeysReason.PASSPHRASE_WEAK):
        create_key_pair(tmp_path / "key", "short", CHEAP_SCRYPT)
    assert list(tmp_path.iterdir()) == []


# Where a PKCS#11 key is. What a token does is tested on one, in tests/integration/test_softhsm.py.


PLACE = "token=clinic;object=kek?module-path=/lib/p11.so"


def test_a_uri_names_library_token_key_and_pin() -> None:
    assert parse_uri(PLACE) == TokenUri("/lib/p11.so", "clinic", "kek", None)
    assert parse_uri(
        "object=a%20b;token=%C3%A9?pin-source=file:/run/pin&module-path=/lib/p11.so"
    ) == TokenUri("/lib/p11.so", "\u00e9", "a b", Path("/run/pin"))
    assert parse_uri(PLACE + "&pin-source=/run/pin").pin_file == Path("/run/pin")


@pytest.mark.parametrize(
    "place",
    [
        "",
        "clinic",
        "token=clinic;object=kek",
        "token=clinic?module-path=/lib/p11.so",
        "object=kek?module-path=/lib/p11.so",
        "token=;object=kek?module-path=/lib/p11.so",
        "token=a;token=b;object=kek?module-path=/lib/p11.so",
        "token=a;object=kek;type=secret-key?module-path=/lib/p11.so",
        PLACE + "&pin-value=1234",
        PLACE + "&pin-source=pin",
        PLACE + "&pin-source=|/bin/echo 1234",
    ],
)
def test_everything_else_is_refused_and_not_shown(place: str) -> None:
    with raising(KeySettingError, KeysReason.KMS_SETTING) as caught:
        TokenKek(place)
    assert "1234" not in str(caught.value) + caught.value.hint


def test_the_id_names_token_and_key_and_not_the_library() -> None:
    assert TokenKek(PLACE).id == "pkcs11:clinic/kek"
    # a keyring's record holds no spaces
    assert TokenKek(PLACE.replace("clinic", "the%20clinic")).id == "pkcs11:the%20clinic/kek"


def test_a_library_that_cannot_be_loaded_is_a_setting() -> None:
    with raising(KeySettingError, KeysReason.KMS_SETTING):
        TokenKek("token=clinic;object=kek?module-path=/nowhere.so", {PIN_VARIABLE: "1"}).wrap(KEY, AD)


@pytest.mark.parametrize(
    ("raised", "kind", "reason"),
    [
        (token_errors.PinLocked, KekDenied, KeysReason.KMS_LOGIN),
        (token_errors.PinExpired, KekDenied, KeysReason.KMS_LOGIN),
        (token_errors.MechanismInvalid, KeySettingError, KeysReason.KMS_KEY),
        (token_errors.DeviceError, KekUnavailable, KeysReason.KMS_FAILED),
        (token_errors.DeviceMemory, KekUnavailable, KeysReason.KMS_FAILED),
        (token_errors.PKCS11Error, KekUnavailable, KeysReason.KMS_FAILED),
    ],
)
def test_what_tokens_answer(
    raised: type[token_errors.PKCS11Error], kind: type[KeysError], reason: KeysReason
) -> None:
    error = _translated(raised("SECRET"), "cannot wrap a key")
    assert (type(error), error.reason) == (kind, reason)
    assert "SECRET" not in str(error) + error.hint
