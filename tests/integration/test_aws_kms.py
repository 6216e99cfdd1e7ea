"""The contract of KEKs, and a whole keyring, under a key in moto's KMS.

moto is not AWS: a disabled key still encrypts there. Those answers are stubbed in tests/keys/kek/test_aws.py.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sealwire.keys.errors import DamagedFile, KekDenied, KekUnavailable, KeysError, KeysReason, UnwrapFailed
from sealwire.keys.kek.aws import AwsKek
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.file import create_keyring, load_keyring, read_record
from sealwire.keys.keyring.source import KeyringCache, KeyringSource
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import KEK_B, NOW
from tests.support import fake_azure, fake_gcp
from tests.support.fake_gcp import CLOUD_KEYS, cloud_key
from tests.support.fake_https import Answer, Asked
from tests.support.reasons import raising

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def kms(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's settings, and a client to make keys with."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    client = boto3.client("kms")
    yield client
    client.close()


def new_key(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


class TestAws(KekContract):
    @pytest.fixture
    def pair(self, kms: Any) -> Pair:
        return AwsKek(new_key(kms)), AwsKek(new_key(kms))


def test_kms_itself_refuses_another_context(kms: Any) -> None:
    """The mark in front is computed for the wrong associated data, as a forger would."""
    kek = AwsKek(new_key(kms))
    sealed = kek.wrap(KEY, AD)[16:]

    class Forger(AwsKek):
        __slots__ = ()

        def forged(self) -> bytes:
            return self._mark(sealed, b"other") + sealed

    forged = Forger(kek._key)
    with pytest.raises(UnwrapFailed):
        forged.unwrap(forged.forged(), b"other")


def test_the_context_is_a_digest(kms: Any) -> None:
    arn = new_key(kms)
    sealed = AwsKek(arn).wrap(KEY, AD)[16:]
    context = {"sealwire": sha256(AD).hexdigest()}
    opened = kms.decrypt(KeyId=arn, CiphertextBlob=sealed, EncryptionContext=context)
    assert opened["Plaintext"] == KEY


def test_no_library_logs_a_key(kms: Any, caplog: pytest.LogCaptureFixture) -> None:
    """At `debug`, botocore writes out requests and answers whole."""
    caplog.set_level(logging.DEBUG)
    kek = AwsKek(new_key(kms))
    caplog.clear()
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    assert not [record.name for record in caplog.records if record.name.startswith(("boto", "urllib3"))]


def test_a_keyring_lives_under_an_alias(kms: Any, tmp_path: Path) -> None:
    kms.create_alias(AliasName="alias/sealwire", TargetKeyId=new_key(kms))
    kek = Providers({}).kek(parse_provider("aws:alias/sealwire"))
    assert kek.id == "aws:alias/sealwire"
    place = tmp_path / "keyring.json"
    create_keyring(place, kek, ("a", "b"), NOW)
    assert load_keyring(place, Providers({}).kek(parse_provider("aws:alias/sealwire"))).class_names == (
        "a",
        "b",
    )
    assert read_record(place).kek_id == kek.id


def test_a_keyring_of_another_key_of_the_same_name_is_damaged(kms: Any, tmp_path: Path) -> None:
    kms.create_alias(AliasName="alias/moved", TargetKeyId=new_key(kms))
    kek = AwsKek("alias/moved")
    create_keyring(tmp_path / "k", kek, ("notes",), NOW)
    kms.update_alias(AliasName="alias/moved", TargetKeyId=new_key(kms))
    with pytest.raises(KeysError) as caught:
        load_keyring(tmp_path / "k", kek)
    assert isinstance(caught.value, DamagedFile | KekDenied)


def test_a_key_that_is_not_there_and_a_service_that_is_away(
    kms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raising(KeysError, KeysReason.KMS_KEY):
        AwsKek("alias/nobody").wrap(KEY, AD)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with raising(KekUnavailable, KeysReason.KEK_UNREACHABLE):
        AwsKek(new_key(kms)).wrap(KEY, AD)


# Keyrings under keys of Azure and Google: an outage, a start from the cache, and a refusal.


DENIALS = {
    "gcp": fake_gcp.status("PERMISSION_DENIED"),
    "azure": fake_azure.error(403, "Forbidden", "ForbiddenByRbac"),
}


@pytest.mark.parametrize("kind", CLOUD_KEYS)
def test_a_start_without_the_service_takes_the_cache_and_a_refusal_does_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cloud_key(kind, tmp_path, monkeypatch) as (setting, https):
        store = FileStore(tmp_path / "keyring.json")
        create_keyring(store, Providers({}).kek(parse_provider(setting)), ("a", "b"), NOW)

        def start() -> KeyringSource:
            kek = Providers({}).kek(parse_provider(setting))
            age = timedelta(hours=1)
            path = tmp_path / "cache.json"
            return KeyringSource(
                store, kek, KeyringCache(path, LocalKek(KEK_B), str(store), kek.id, age, lambda: NOW)
            )

        def deny(asked: Asked) -> Answer | None:
            return DENIALS[setting.split(":")[0]] if "eys/" in asked.path else None

        running = start()
        assert running.first().unavailable is None
        https.instead += [lambda _: Answer(503)] * 40
        first = start().first()
        assert isinstance(first.unavailable, KekUnavailable)
        assert first.take().class_names == ("a", "b")
        with pytest.raises(KekUnavailable):
            running.load()
        https.instead[:] = [deny] * 4
        with pytest.raises(KekDenied):
            start().first()
        https.instead.clear()
        assert running.load().class_names == ("a", "b")
