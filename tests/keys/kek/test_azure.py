"""Azure Key Vault and Managed HSM: the contract of KEKs, and what a forger cannot do."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from sealwire.keys.errors import (
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek import azure as azures
from sealwire.keys.kek import kek as keks
from sealwire.keys.kek.azure import AzureKek, AzureVault
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.kek_contract import AD, KEY, KekContract, Pair, refused
from tests.keys.samples import NOW
from tests.support.fake_azure import (
    AZURE_HOSTS,
    HSM_HOST,
    LOGIN_HOST,
    NEW_HOST,
    VAULT_HOST,
    FakeAzure,
    Version,
    base64url,
    error,
    rsa_key,
)
from tests.support.fake_gcp import azure_cloud
from tests.support.fake_https import Answer, Asked, FakeHttps

MARK_BYTES = 16
SIGNATURE = slice(1 + 16 + 16, 1 + 16 + 16 + 64)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


Cloud = tuple[FakeAzure, FakeHttps]
Make = Callable[[FakeAzure], str]


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    azure = FakeAzure()
    with azure_cloud(azure, tmp_path, monkeypatch) as https:
        yield azure, https


@pytest.fixture
def azure(running: Cloud) -> FakeAzure:
    return running[0]


@pytest.fixture
def https(running: Cloud) -> FakeHttps:
    return running[1]


class TestVault(KekContract):
    @pytest.fixture
    def pair(self, azure: FakeAzure) -> Pair:
        return AzureKek(azure.new_vault_key()), AzureKek(azure.new_vault_key())


class TestManagedHsm(KekContract):
    @pytest.fixture
    def pair(self, azure: FakeAzure) -> Pair:
        return AzureKek(azure.new_hsm_key()), AzureKek(azure.new_hsm_key())


class Forger(AzureKek):
    """Writes the mark anew over what was altered, and knows how the digest is made that is signed."""

    __slots__ = ()

    def forge(self, sealed: bytes, associated_data: bytes = AD) -> bytes:
        return self._mark(sealed, associated_data) + sealed

    def to_sign(self, version: bytes, wrapped: bytes, inner: bytes, associated_data: bytes = AD) -> bytes:
        return self._digest(version, wrapped, inner, sha256(associated_data).hexdigest())


def paths(https: FakeHttps) -> list[str]:
    """Method and operation of each request to the vault that bore a token."""
    told = []
    for asked in https.asked:
        if asked.host != LOGIN_HOST and "Authorization" in asked.headers:
            last = asked.path.partition("?")[0].rpartition("/")[2]
            told.append(last if asked.method == "POST" else asked.method)
    return told


@pytest.mark.parametrize(
    ("location", "kek_id"),
    [
        ("https://clinic.vault.azure.net/keys/sealwire", "azure:clinic.vault.azure.net/sealwire"),
        ("https://c-1.managedhsm.azure.net/keys/K-1", "azure:c-1.managedhsm.azure.net/K-1"),
        ("https://clinic.vault.azure.cn/keys/k", "azure:clinic.vault.azure.cn/k"),
        ("https://clinic.vault.usgovcloudapi.net/keys/k", "azure:clinic.vault.usgovcloudapi.net/k"),
    ],
)
def test_the_id_names_vault_and_key(location: str, kek_id: str) -> None:
    assert AzureKek(location).id == kek_id


@pytest.mark.parametrize(
    "location",
    [
        "",
        "sealwire",
        "clinic.vault.azure.net/keys/sealwire",
        "http://clinic.vault.azure.net/keys/sealwire",
        "https://clinic.vault.azure.net/secrets/sealwire",
        "https://clinic.vault.azure.net/keys/sealwire/" + "0" * 32,
        "https://clinic.vault.azure.net/keys/sealwire ",
        "https://clinic.vault.azure.net/keys/" + "k" * 111,
        "https://clinic.vault.azure.net:443/keys/k",
        "https://clinic.vault.azure.net.example.org/keys/k",
        "https://u@clinic.vault.azure.net/keys/k",
        "https://-clinic.vault.azure.net/keys/k",
        "https://vault.azure.net/keys/k",
    ],
)
def test_what_names_no_key_of_azure_is_refused(location: str) -> None:
    refused(lambda: AzureKek(location), KeySettingError, KeysReason.KMS_SETTING)


def test_what_is_asked_of_a_vault(azure: FakeAzure, https: FakeHttps) -> None:
    """Each version is asked for once a process; then a key costs one request to unwrap."""
    identifier = azure.new_vault_key()
    kek = AzureKek(identifier)
    assert https.asked == []
    wrapped = kek.wrap(KEY, AD)
    assert paths(https) == ["GET", "GET", "GET", "sign"]
    https.asked.clear()
    proxy = AzureKek(identifier)
    assert proxy.unwrap(wrapped, AD) == proxy.unwrap(wrapped, AD) == KEY
    assert paths(https) == ["GET", "GET", "unwrapkey", "unwrapkey"]


def test_what_is_asked_of_an_hsm(azure: FakeAzure, https: FakeHttps) -> None:
    identifier = azure.new_hsm_key()
    wrapped = AzureKek(identifier).wrap(KEY, AD)
    assert paths(https) == ["GET", "GET", "encrypt"]
    https.asked.clear()
    proxy = AzureKek(identifier)
    assert proxy.unwrap(wrapped, AD) == proxy.unwrap(wrapped, AD) == KEY
    assert paths(https) == ["GET", "decrypt", "decrypt"]


def test_azure_sees_no_data_key(azure: FakeAzure, https: FakeHttps) -> None:
    seen: list[str] = []
    for identifier in (azure.new_vault_key(), azure.new_hsm_key()):
        kek = AzureKek(identifier)
        kek.unwrap(kek.wrap(KEY, AD), AD)
    for asked in https.asked:
        if asked.method == "POST" and asked.host != LOGIN_HOST and asked.body:
            seen.append(json.loads(asked.body)["value"])
    assert len(seen) == 4
    assert all(len(value) < 4 * 256 / 3 + 4 for value in seen)
    assert not any("AAECAwQFBgcICQ" in value for value in seen), "the first bytes of KEY in base64"


def test_the_holder_of_the_public_key_cannot_make_a_wrapped_key(azure: FakeAzure, https: FakeHttps) -> None:
    """He wraps a content key of his own, and signs with whatever he has."""
    identifier = azure.new_vault_key()
    kek = Forger(identifier)
    genuine = kek.wrap(KEY, AD)[MARK_BYTES:]
    public = rsa_key(0).public_key()
    assert azure.versions(identifier)[0].material == rsa_key(0)
    content_key = bytes(range(32))
    inner = LocalKek(content_key).wrap(b"the forger's key", sha256(AD).hexdigest().encode())
    wrapped = public.encrypt(content_key, OAEP)
    version = genuine[1:17]
    own = ec.generate_private_key(ec.SECP256R1())
    digest = kek.to_sign(version, wrapped, inner)
    r, s = decode_dss_signature(own.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
    for signature in (
        genuine[SIGNATURE],
        bytes(64),
        b"\xff" * 64,
        r.to_bytes(32, "big") + s.to_bytes(32, "big"),
    ):
        forged = genuine[:33] + signature + b"\x01\x00" + wrapped + inner
        https.asked.clear()
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(forged), AD)
        assert "unwrapkey" not in paths(https), "nothing is unwrapped before the signature holds"


def test_a_version_of_the_signer_that_a_forger_names_has_to_be_in_the_vault(azure: FakeAzure) -> None:
    kek = Forger(azure.new_vault_key())
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    forged = sealed[:17] + bytes(16) + sealed[33:]
    assert refused(lambda: kek.unwrap(kek.forge(forged), AD)).reason is KeysReason.KMS_KEY


def test_what_was_signed_for_one_place_does_not_open_in_another(azure: FakeAzure) -> None:
    """Also where a second key of the vault has the same material and the same signer."""
    identifier = azure.new_vault_key()
    kek, twin_identifier = Forger(identifier), azure.new_vault_key()
    for suffix in ("", "-signing"):
        azure.versions(twin_identifier, suffix)[:] = azure.versions(identifier, suffix)
    twin = Forger(twin_identifier)
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    assert kek.unwrap(kek.forge(sealed), AD) == KEY
    with pytest.raises(UnwrapFailed):
        kek.unwrap(kek.forge(sealed, b"other"), b"other")
    with pytest.raises(UnwrapFailed):
        twin.unwrap(twin.forge(sealed), AD)


@pytest.mark.parametrize("make", [FakeAzure.new_vault_key, FakeAzure.new_hsm_key])
def test_no_altered_byte_passes_behind_a_genuine_mark(azure: FakeAzure, make: Make) -> None:
    kek = Forger(make(azure))
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    for at in range(0, len(sealed), 7):
        altered = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        error = refused(lambda altered=altered: kek.unwrap(kek.forge(altered), AD))  # type: ignore[misc]
        assert error.reason in (KeysReason.UNWRAP, KeysReason.KMS_KEY)
    for end in (1, 2, 17, 33, 61, 77, 97, 99, 140, len(sealed) - 1):
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(sealed[:end]), AD)


def test_an_hsm_refuses_another_context(azure: FakeAzure, https: FakeHttps) -> None:
    kek = Forger(azure.new_hsm_key())
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    https.asked.clear()
    with pytest.raises(UnwrapFailed):
        kek.unwrap(kek.forge(sealed, b"other"), b"other")
    assert paths(https) == ["decrypt"]


@pytest.mark.parametrize("make", [FakeAzure.new_vault_key, FakeAzure.new_hsm_key])
def test_older_versions_open_what_they_wrapped(azure: FakeAzure, make: Make) -> None:
    identifier = make(azure)
    kek = AzureKek(identifier)
    wrapped = kek.wrap(KEY, AD)
    versions = azure.versions(identifier)
    versions.append(Version(bytes(32) if isinstance(versions[0].material, bytes) else rsa_key(7)))
    assert kek.unwrap(wrapped, AD) == KEY
    newer = kek.wrap(KEY, AD)
    assert versions[-1].identifier in newer.hex()
    assert kek.unwrap(newer, AD) == KEY
    versions[0].enabled = False
    refused(lambda: kek.unwrap(wrapped, AD), KekDenied, KeysReason.KMS_KEY)
    assert kek.unwrap(newer, AD) == KEY


def test_a_new_version_of_the_signer_signs_and_the_older_one_still_proves(azure: FakeAzure) -> None:
    identifier = azure.new_vault_key()
    kek = AzureKek(identifier)
    wrapped = kek.wrap(KEY, AD)
    signers = azure.versions(identifier, "-signing")
    signers.append(Version(ec.generate_private_key(ec.SECP256R1())))
    newer = kek.wrap(KEY, AD)
    fresh = AzureKek(identifier)
    assert fresh.unwrap(wrapped, AD) == fresh.unwrap(newer, AD) == KEY
    signers[0].enabled = False
    refused(lambda: AzureKek(identifier).unwrap(wrapped, AD), KekDenied, KeysReason.KMS_KEY)


@pytest.mark.parametrize("suffix", ["", "-signing"])
def test_a_disabled_key_wraps_nothing(azure: FakeAzure, suffix: str) -> None:
    """The vault itself would give out the public key, and let an HSM's key encrypt."""
    identifier = azure.new_vault_key()
    azure.versions(identifier, suffix)[0].enabled = False
    refused(lambda: AzureKek(identifier).wrap(KEY, AD), KekDenied, KeysReason.KMS_KEY)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_longer_rsa_keys_serve(azure: FakeAzure, bits: int) -> None:
    kek = AzureKek(azure.new_vault_key(rsa_key(0, bits)))
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY


def test_keys_of_another_type_are_refused(azure: FakeAzure) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    other_curve = ec.generate_private_key(ec.SECP384R1())
    unfit: list[tuple[str, Any]] = [
        ("", curve),
        ("", rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that is the fault
        ("", other_curve),
        ("-signing", rsa_key(0)),
        ("-signing", other_curve),
        ("-signing", bytes(32)),
    ]
    for suffix, material in unfit:
        identifier = azure.new_vault_key()
        azure.versions(identifier, suffix)[0].material = material
        error = refused(lambda identifier=identifier: AzureKek(identifier).wrap(KEY, AD))  # type: ignore[misc]
        assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_KEY)
        azure.keys.clear()


def test_a_signature_that_does_not_hold_is_not_written_down(azure: FakeAzure, https: FakeHttps) -> None:
    identifier = azure.new_vault_key()
    other = AzureKek(azure.new_vault_key())
    other.wrap(KEY, AD)
    signed = next(asked for asked in https.asked if "/sign" in asked.path and asked.body)
    stale = azure.answer(signed)
    https.instead.append(lambda asked: stale if "/sign" in asked.path else None)
    with pytest.raises(UnwrapFailed):
        AzureKek(identifier).wrap(KEY, AD)


def test_a_keyring_lives_there_through_an_outage(azure: FakeAzure, https: FakeHttps, tmp_path: Path) -> None:
    for number, identifier in enumerate((azure.new_vault_key(), azure.new_hsm_key())):
        place = tmp_path / str(number)
        kek = Providers({}).kek(parse_provider(f"azure:{identifier}"))
        create_keyring(place, kek, ("a", "b"), NOW)
        assert load_keyring(place, kek).class_names == ("a", "b")
        https.instead += [lambda _: Answer(503)] * 2
        with pytest.raises(KekUnavailable):
            load_keyring(place, kek)
        assert load_keyring(place, kek).class_names == ("a", "b")
        versions = azure.versions(identifier)
        versions[0].material = bytes(32) if isinstance(versions[0].material, bytes) else rsa_key(9)
        with pytest.raises((DamagedFile, KekDenied)):
            load_keyring(place, kek)


OPERATIONS = ("sign", "unwrapkey", "encrypt", "decrypt")


def once(operation: str, answer: Answer) -> Callable[[Asked], Answer | None]:
    """`answer` in place of that to a request with a body, once somebody has logged in."""
    return lambda asked: answer if f"/{operation}?" in asked.path and asked.body else None


def act_with(azure: FakeAzure, https: FakeHttps, operation: str, *answers: Answer) -> Callable[[], object]:
    """Do what needs `operation`, with these answers to it."""
    hsm = operation in ("encrypt", "decrypt")
    kek = AzureKek(azure.new_hsm_key() if hsm else azure.new_vault_key())
    wrapped = kek.wrap(KEY, AD)
    kek.unwrap(wrapped, AD)
    https.instead += [once(operation, answer) for answer in answers]
    if operation in ("sign", "encrypt"):
        return lambda: kek.wrap(KEY, AD)
    return lambda: kek.unwrap(wrapped, AD)


ANSWERS: dict[str, tuple[Answer, type[KeysError], KeysReason]] = {
    "disabled": (error(403, "Forbidden", "KeyDisabled"), KekDenied, KeysReason.KMS_KEY),
    "not yet valid": (error(403, "Forbidden", "KeyNotYetValid"), KekDenied, KeysReason.KMS_KEY),
    "expired": (error(403, "Forbidden", "KeyExpired"), KekDenied, KeysReason.KMS_KEY),
    "policy": (error(403, "Forbidden", "ForbiddenByPolicy"), KekDenied, KeysReason.KMS_DENIED),
    "role": (error(403, "Forbidden", "ForbiddenByRbac"), KekDenied, KeysReason.KMS_DENIED),
    "firewall": (error(403, "Forbidden", "ForbiddenByFirewall"), KekDenied, KeysReason.KMS_DENIED),
    "no explanation": (Answer(403, b"<html>SECRET"), KekDenied, KeysReason.KMS_DENIED),
    "deleted": (error(404, "KeyNotFound"), KeySettingError, KeysReason.KMS_KEY),
    "in deletion": (error(409, "Conflict", "ObjectIsBeingDeleted"), KekDenied, KeysReason.KMS_KEY),
    "throttled": (error(429, "Throttled"), KekUnavailable, KeysReason.KMS_FAILED),
    "in trouble": (error(500, "InternalError"), KekUnavailable, KeysReason.KMS_FAILED),
    "overloaded": (error(503, "ServiceUnavailable"), KekUnavailable, KeysReason.KMS_FAILED),
    "something new": (error(418, "Teapot"), KekUnavailable, KeysReason.KMS_FAILED),
    "a strange code": (error(500, "SECRET\nforged line"), KekUnavailable, KeysReason.KMS_FAILED),
    "a number": (Answer(500, b'{"error": 7}'), KekUnavailable, KeysReason.KMS_FAILED),
    "a list": (Answer(500, b"[7]"), KekUnavailable, KeysReason.KMS_FAILED),
    "elsewhere": (
        Answer(307, b"", {"Location": f"https://{VAULT_HOST}/elsewhere"}),
        KekUnavailable,
        KeysReason.KMS_FAILED,
    ),
}


# All operations ask in one way: each is tried with an answer of a denial and with one of a failure.
@pytest.mark.parametrize(
    ("operation", "case"),
    [("unwrapkey", case) for case in ANSWERS]
    + [*product(("sign", "encrypt", "decrypt"), ("role", "in trouble"))],
)
def test_what_an_answer_means(azure: FakeAzure, https: FakeHttps, operation: str, case: str) -> None:
    answer, kind, reason = ANSWERS[case]
    found = refused(act_with(azure, https, operation, answer, answer), kind, reason)
    assert found.hint
    assert not any("elsewhere" in asked.path for asked in https.asked)


def test_what_is_shown_is_the_innermost_code_and_the_permission(azure: FakeAzure, https: FakeHttps) -> None:
    denied = refused(act_with(azure, https, "unwrapkey", error(403, "Forbidden", "ForbiddenByRbac")))
    assert "ForbiddenByRbac" in str(denied)
    assert "unwrapKey" in denied.hint
    bare = refused(act_with(azure, https, "unwrapkey", Answer(403)))
    assert "HTTP_403" in str(bare)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_bad_parameter_is_a_key_or_a_ciphertext(azure: FakeAzure, https: FakeHttps, operation: str) -> None:
    found = refused(act_with(azure, https, operation, error(400, "BadParameter")))
    opening = operation in ("decrypt", "unwrapkey")
    assert type(found) is (UnwrapFailed if opening else KeySettingError)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_may_pass_is_tried_twice(azure: FakeAzure, https: FakeHttps, operation: str) -> None:
    busy = error(503, "ServiceUnavailable")
    act_with(azure, https, operation, busy)()
    https.asked.clear()
    refused(act_with(azure, https, operation, busy, busy, busy))
    assert len(https.instead) == 1


def test_a_service_gets_its_rest(azure: FakeAzure, https: FakeHttps, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(keks, "sleep", slept.append)
    mine, really_sleep = threading.get_ident(), time.sleep

    def note_sleep(seconds: float) -> None:
        if threading.get_ident() != mine:
            really_sleep(seconds)  # of servers that other tests of this process left running
        elif seconds:
            slept.append(seconds)

    monkeypatch.setattr("time.sleep", note_sleep)
    wants = [error(429, "Throttled", None, {"Retry-After": text}) for text in ("60", "1")]
    found = refused(act_with(azure, https, "unwrapkey", wants[0]))
    assert isinstance(found, KekUnavailable)
    assert found.retry_after_s == 60
    assert slept == []
    act_with(azure, https, "unwrapkey", wants[1])()
    assert slept == [1.0]


def result(**fields: object) -> Answer:
    return Answer(200, json.dumps(fields).encode(), {"Content-Type": "application/json"})


B32, B64 = base64url(bytes(32)), base64url(bytes(64))
LIES: dict[str, tuple[str, Answer]] = {
    "short signature": ("sign", result(kid="k", value=B32)),
    "no signature": ("sign", result(kid="k")),
    "signature of another kind": ("sign", result(kid="k", value=7)),
    "long content key": ("unwrapkey", result(kid="k", value=B64)),
    "empty content key": ("unwrapkey", result(kid="k", value="")),
    "no object": ("unwrapkey", Answer(200, b"[]", {"Content-Type": "application/json"})),
    "no json": ("unwrapkey", Answer(200, b"SECRET", {"Content-Type": "application/json"})),
    "no text": ("unwrapkey", Answer(200, b"\xff\xfe", {"Content-Type": "application/json"})),
    "no nonce": ("encrypt", result(kid="k", value=B32, tag=base64url(bytes(16)))),
    "no tag": ("encrypt", result(kid="k", value=B32, iv=base64url(bytes(12)))),
    "long ciphertext": (
        "encrypt",
        result(kid="k", value=B64, iv=base64url(bytes(12)), tag=base64url(bytes(16))),
    ),
    "short plaintext": ("decrypt", result(kid="k", value=base64url(bytes(31)))),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_impossible_answer_is_not_taken(azure: FakeAzure, https: FakeHttps, lie: str) -> None:
    operation, answer = LIES[lie]
    refused(act_with(azure, https, operation, answer, answer), KekUnavailable, KeysReason.KMS_FAILED)
    assert https.instead == []


@pytest.mark.parametrize("operation", ["unwrapkey", "decrypt"])
def test_another_content_key_opens_nothing(azure: FakeAzure, https: FakeHttps, operation: str) -> None:
    found = refused(act_with(azure, https, operation, result(kid="k", value=B32)))
    assert isinstance(found, UnwrapFailed)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def apply(bundle: dict[str, Any]) -> bytes:
        change(bundle)
        return json.dumps(bundle).encode()

    return apply


BUNDLES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "another vault": changed(lambda b: b["key"].update(kid=f"https://{HSM_HOST}/keys/k/" + "0" * 32)),
    "no version": changed(lambda b: b["key"].update(kid=b["key"]["kid"][:-32])),
    "a short version": changed(lambda b: b["key"].update(kid=b["key"]["kid"][:-1])),
    "no identifier": changed(lambda b: b["key"].pop("kid")),
    "no modulus": changed(lambda b: b["key"].pop("n")),
    "a huge modulus": changed(lambda b: b["key"].update(n=base64url(b"\x81" * 1025))),
    "an even exponent": changed(lambda b: b["key"].update(e=base64url(b"\x02"))),
    "no key": changed(lambda b: b.pop("key")),
    "nothing": lambda _: b"{}",
}


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_key_that_cannot_be_is_not_taken(azure: FakeAzure, https: FakeHttps, bundle: str) -> None:
    kek = AzureKek(azure.new_vault_key())
    kek.wrap(KEY, AD)

    def lying(asked: Asked) -> Answer | None:
        if asked.method != "GET" or asked.host != VAULT_HOST:
            return None
        content = BUNDLES[bundle](json.loads(azure.answer(asked).body))
        return Answer(200, content, {"Content-Type": "application/json"})

    https.instead += [lying, lying]
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, KeysReason.KMS_FAILED)


def test_a_key_that_does_not_say_that_it_is_enabled_is_not_used(azure: FakeAzure, https: FakeHttps) -> None:
    kek = AzureKek(azure.new_vault_key())
    kek.wrap(KEY, AD)

    def silent(asked: Asked) -> Answer | None:
        content = json.loads(azure.answer(asked).body)
        content["attributes"].pop("enabled")
        return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    https.instead.append(silent)
    assert refused(lambda: kek.wrap(KEY, AD)).reason is KeysReason.KMS_KEY


def test_another_version_than_was_asked_for_is_not_taken(azure: FakeAzure, https: FakeHttps) -> None:
    azure.new_vault_key()
    vault = AzureVault(f"https://{VAULT_HOST}")
    signer = vault.newest("k0-signing")
    assert vault.version("k0-signing", signer.version) == signer

    def newest(asked: Asked) -> Answer:
        return azure.answer(Asked(asked.host, "GET", "/keys/k0-signing/?" + query(asked), asked.headers, b""))

    https.instead += [newest, newest]
    found = refused(lambda: vault.version("k0-signing", bytes(16)))
    assert found.reason is KeysReason.KMS_FAILED


def query(asked: Asked) -> str:
    return asked.path.partition("?")[2]


def test_a_vault_that_takes_no_token_has_no_login(azure: FakeAzure, https: FakeHttps) -> None:
    kek = AzureKek(azure.new_vault_key())
    wrapped = kek.wrap(KEY, AD)
    kek.unwrap(wrapped, AD)
    https.instead += [once("unwrapkey", error(401, "Unauthorized"))]
    refused(lambda: kek.unwrap(wrapped, AD), KekDenied, KeysReason.KMS_LOGIN)


def test_an_application_entra_refuses_has_no_login(azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "SECRET, and wrong")
    refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD), KekDenied, KeysReason.KMS_LOGIN)


def test_an_issuer_that_cannot_be_reached_is_not_one_that_refuses(
    azure: FakeAzure, monkeypatch: pytest.MonkeyPatch
) -> None:
    kek = AzureKek(azure.new_vault_key())
    resolve = socket.getaddrinfo

    def resolve_but_the_issuer(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("nowhere.example" if host == LOGIN_HOST else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_but_the_issuer)
    refused(lambda: kek.wrap(KEY, AD), KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_machine_without_any_login_says_so(azure: FakeAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD), KekDenied, KeysReason.KMS_LOGIN)


def test_variables_that_name_no_credential_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "SECRET")
    refused(lambda: AzureKek(f"https://{VAULT_HOST}/keys/k"), KeySettingError, KeysReason.KMS_SETTING)


def test_a_challenge_for_another_service_gets_no_token(azure: FakeAzure, https: FakeHttps) -> None:
    header = f'Bearer authorization="https://{LOGIN_HOST}/x", resource="https://example.org"'
    answer = Answer(401, b"{}", {"WWW-Authenticate": header})
    https.instead += [lambda _: answer] * 4
    kek = AzureKek(f"https://{NEW_HOST}/keys/k")
    found = refused(lambda: kek.wrap(KEY, AD))
    assert isinstance(found, KekUnavailable | KekDenied)
    assert LOGIN_HOST not in {asked.host for asked in https.asked}


def test_a_service_that_is_slow_or_cannot_be_found_is_unavailable(
    azure: FakeAzure, https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(azures._TIMES, "read_timeout", 0.5)
    late = Answer(200, b"{}", wait_s=0.8)
    refused(act_with(azure, https, "unwrapkey", late, late), KekUnavailable, KeysReason.KEK_UNREACHABLE)
    assert "nowhere.vault.azure.net" not in AZURE_HOSTS
    found = refused(lambda: AzureKek("https://nowhere.vault.azure.net/keys/k").wrap(KEY, AD))
    assert (type(found), found.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    azure: FakeAzure, https: FakeHttps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert isinstance(refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD)), KekUnavailable)
    assert https.asked == []


def test_an_entry_in_netrc_does_not_take_the_place_of_the_token(
    azure: FakeAzure, https: FakeHttps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    hosts = (VAULT_HOST, LOGIN_HOST)
    netrc.write_text("".join(f"machine {host} login somebody password SECRET\n" for host in hosts))
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    kek = AzureKek(azure.new_vault_key())
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    sent = [asked.headers.get("Authorization", "Bearer") for asked in https.asked]
    assert all(header.startswith("Bearer") for header in sent)


def test_no_library_logs_a_key_or_what_a_service_says(
    azure: FakeAzure,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    for identifier in (azure.new_vault_key(), azure.new_hsm_key()):
        kek = AzureKek(identifier)
        kek.unwrap(kek.wrap(KEY, AD), AD)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "SECRET, and wrong")
    refused(lambda: AzureKek(azure.new_vault_key()).wrap(KEY, AD))
    # other tests of this process may have a database's driver at work in the background
    assert [record for record in caplog.records if not record.name.startswith("pymongo.")] == []
