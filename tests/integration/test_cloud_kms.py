"""Keyrings under keys of Azure and Google: an outage, a start from the cache, and a refusal."""

from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.keys.errors import KekDenied, KekUnavailable
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.keyring.source import KeyringCache, KeyringSource
from sealwire.keys.keyring.store import FileStore
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.samples import KEK_B, NOW
from tests.support import fake_azure, fake_gcp
from tests.support.clouds import CLOUD_KEYS, cloud_key
from tests.support.fake_https import Answer, Asked

pytestmark = pytest.mark.integration

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
