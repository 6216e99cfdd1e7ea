"""Azure Key Vault and Managed HSM: the contract of KEKs, and what a forger cannot do."""

import json
from collections.abc import Callable
from hashlib import sha256
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
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.kek.azure import AzureKek
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.file import create_keyring, load_keyring
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.kek.refusals import refused
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import NOW
from tests.support.fake_azure import LOGIN_HOST, FakeAzure, Version, rsa_key
from tests.support.fake_https import Answer, FakeHttps

MARK_BYTES = 16
SIGNATURE = slice(1 + 16 + 16, 1 + 16 + 16 + 64)
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


class TestVault(KekContract):
    @pytest.fixture
    def pair(self, azure: FakeAzure, azure_https: FakeHttps) -> Pair:
        return AzureKek(azure.new_vault_key()), AzureKek(azure.new_vault_key())


class TestManagedHsm(KekContract):
    @pytest.fixture
    def pair(self, azure: FakeAzure, azure_https: FakeHttps) -> Pair:
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
    error = refused(lambda: AzureKek(location))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.KMS_SETTING)


def test_what_is_asked_of_a_vault(azure: FakeAzure, azure_https: FakeHttps) -> None:
    """Each version is asked for once a process; then a key costs one request to unwrap."""
    identifier = azure.new_vault_key()
    kek = AzureKek(identifier)
    assert azure_https.asked == []
    wrapped = kek.wrap(KEY, AD)
    assert paths(azure_https) == ["GET", "GET", "GET", "sign"]
    azure_https.asked.clear()
    proxy = AzureKek(identifier)
    assert proxy.unwrap(wrapped, AD) == proxy.unwrap(wrapped, AD) == KEY
    assert paths(azure_https) == ["GET", "GET", "unwrapkey", "unwrapkey"]


def test_what_is_asked_of_an_hsm(azure: FakeAzure, azure_https: FakeHttps) -> None:
    identifier = azure.new_hsm_key()
    wrapped = AzureKek(identifier).wrap(KEY, AD)
    assert paths(azure_https) == ["GET", "GET", "encrypt"]
    azure_https.asked.clear()
    proxy = AzureKek(identifier)
    assert proxy.unwrap(wrapped, AD) == proxy.unwrap(wrapped, AD) == KEY
    assert paths(azure_https) == ["GET", "decrypt", "decrypt"]


def test_azure_sees_no_data_key(azure: FakeAzure, azure_https: FakeHttps) -> None:
    seen: list[str] = []
    for identifier in (azure.new_vault_key(), azure.new_hsm_key()):
        kek = AzureKek(identifier)
        kek.unwrap(kek.wrap(KEY, AD), AD)
    for asked in azure_https.asked:
        if asked.method == "POST" and asked.host != LOGIN_HOST and asked.body:
            seen.append(json.loads(asked.body)["value"])
    assert len(seen) == 4
    assert all(len(value) < 4 * 256 / 3 + 4 for value in seen)
    assert not any("AAECAwQFBgcICQ" in value for value in seen), "the first bytes of KEY in base64"


def test_the_holder_of_the_public_key_cannot_make_a_wrapped_key(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
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
        azure_https.asked.clear()
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(forged), AD)
        assert "unwrapkey" not in paths(azure_https), "nothing is unwrapped before the signature holds"


def test_a_version_of_the_signer_that_a_forger_names_has_to_be_in_the_vault(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
    kek = Forger(azure.new_vault_key())
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    forged = sealed[:17] + bytes(16) + sealed[33:]
    assert refused(lambda: kek.unwrap(kek.forge(forged), AD)).reason is KeysReason.KMS_KEY


def test_what_was_signed_for_one_place_does_not_open_in_another(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
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
def test_no_altered_byte_passes_behind_a_genuine_mark(
    azure: FakeAzure, azure_https: FakeHttps, make: Callable[[FakeAzure], str]
) -> None:
    kek = Forger(make(azure))
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    for at in range(0, len(sealed), 7):
        altered = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
        error = refused(lambda altered=altered: kek.unwrap(kek.forge(altered), AD))  # type: ignore[misc]
        assert error.reason in (KeysReason.UNWRAP, KeysReason.KMS_KEY)
    for end in (1, 2, 17, 33, 61, 77, 97, 99, 140, len(sealed) - 1):
        with pytest.raises(UnwrapFailed):
            kek.unwrap(kek.forge(sealed[:end]), AD)


def test_an_hsm_refuses_another_context(azure: FakeAzure, azure_https: FakeHttps) -> None:
    kek = Forger(azure.new_hsm_key())
    sealed = kek.wrap(KEY, AD)[MARK_BYTES:]
    azure_https.asked.clear()
    with pytest.raises(UnwrapFailed):
        kek.unwrap(kek.forge(sealed, b"other"), b"other")
    assert paths(azure_https) == ["decrypt"]


@pytest.mark.parametrize("make", [FakeAzure.new_vault_key, FakeAzure.new_hsm_key])
def test_older_versions_open_what_they_wrapped(
    azure: FakeAzure, azure_https: FakeHttps, make: Callable[[FakeAzure], str]
) -> None:
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
    error = refused(lambda: kek.unwrap(wrapped, AD))
    assert (type(error), error.reason) == (KekDenied, KeysReason.KMS_KEY)
    assert kek.unwrap(newer, AD) == KEY


def test_a_new_version_of_the_signer_signs_and_the_older_one_still_proves(
    azure: FakeAzure, azure_https: FakeHttps
) -> None:
    identifier = azure.new_vault_key()
    kek = AzureKek(identifier)
    wrapped = kek.wrap(KEY, AD)
    signers = azure.versions(identifier, "-signing")
    signers.append(Version(ec.generate_private_key(ec.SECP256R1())))
    newer = kek.wrap(KEY, AD)
    fresh = AzureKek(identifier)
    assert fresh.unwrap(wrapped, AD) == fresh.unwrap(newer, AD) == KEY
    signers[0].enabled = False
    error = refused(lambda: AzureKek(identifier).unwrap(wrapped, AD))
    assert (type(error), error.reason) == (KekDenied, KeysReason.KMS_KEY)


@pytest.mark.parametrize("suffix", ["", "-signing"])
def test_a_disabled_key_wraps_nothing(azure: FakeAzure, azure_https: FakeHttps, suffix: str) -> None:
    """The vault itself would give out the public key, and let an HSM's key encrypt."""
    identifier = azure.new_vault_key()
    azure.versions(identifier, suffix)[0].enabled = False
    error = refused(lambda: AzureKek(identifier).wrap(KEY, AD))
    assert (type(error), error.reason) == (KekDenied, KeysReason.KMS_KEY)


@pytest.mark.parametrize("bits", [3072, 4096])
def test_longer_rsa_keys_serve(azure: FakeAzure, azure_https: FakeHttps, bits: int) -> None:
    kek = AzureKek(azure.new_vault_key(rsa_key(0, bits)))
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY


def test_keys_of_another_type_are_refused(azure: FakeAzure, azure_https: FakeHttps) -> None:
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


def test_a_signature_that_does_not_hold_is_not_written_down(azure: FakeAzure, azure_https: FakeHttps) -> None:
    identifier = azure.new_vault_key()
    other = AzureKek(azure.new_vault_key())
    other.wrap(KEY, AD)
    signed = next(asked for asked in azure_https.asked if "/sign" in asked.path and asked.body)
    stale = azure.answer(signed)
    azure_https.instead.append(lambda asked: stale if "/sign" in asked.path else None)
    with pytest.raises(UnwrapFailed):
        AzureKek(identifier).wrap(KEY, AD)


def test_a_keyring_lives_there_while_the_service_goes_and_comes(
    azure: FakeAzure, azure_https: FakeHttps, tmp_path: Path
) -> None:
    for number, identifier in enumerate((azure.new_vault_key(), azure.new_hsm_key())):
        place = tmp_path / str(number)
        kek = Providers({}).kek(parse_provider(f"azure:{identifier}"))
        create_keyring(place, kek, ("a", "b"), NOW)
        assert load_keyring(place, kek).class_names == ("a", "b")
        azure_https.instead += [lambda _: Answer(503)] * 2
        with pytest.raises(KekUnavailable):
            load_keyring(place, kek)
        assert load_keyring(place, kek).class_names == ("a", "b")
        versions = azure.versions(identifier)
        versions[0].material = bytes(32) if isinstance(versions[0].material, bytes) else rsa_key(9)
        with pytest.raises((DamagedFile, KekDenied)):
            load_keyring(place, kek)
