"""The fake clouds with a login where their libraries look for one, so that providers run as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealwire.keys.kek import kek
from tests.support.fake_azure import AZURE_HOSTS, CLIENT, CLIENT_SECRET, TENANT, FakeAzure
from tests.support.fake_gcp import GCP_HOSTS, FakeGcp
from tests.support.fake_https import FakeHttps, fake_https


@contextmanager
def gcp_cloud(cloud: FakeGcp, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    """Google's, with a service account's file."""
    file = cloud.credentials_file(folder / "account.json")
    patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    patch.setattr(kek, "sleep", lambda _seconds: None)
    with fake_https(folder / "gcp", GCP_HOSTS, cloud.answer, patch) as running:
        yield running
    assert cloud.violations == []


@contextmanager
def azure_cloud(cloud: FakeAzure, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    """Azure's, with an application's secret."""
    patch.setenv("AZURE_TENANT_ID", TENANT)
    patch.setenv("AZURE_CLIENT_ID", CLIENT)
    patch.setenv("AZURE_CLIENT_SECRET", CLIENT_SECRET)
    patch.setattr(kek, "sleep", lambda _seconds: None)
    with fake_https(folder / "azure", AZURE_HOSTS, cloud.answer, patch) as running:
        yield running
    assert cloud.violations == []


CLOUD_KEYS = ("gcp", "azure vault", "azure hsm")


@contextmanager
def cloud_key(kind: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, FakeHttps]]:
    """A key of one of `CLOUD_KEYS`, as --kek names it, and the cloud where it is."""
    if kind == "gcp":
        gcp = FakeGcp()
        with gcp_cloud(gcp, folder, patch) as running:
            yield f"gcp:{gcp.new_key()}", running
    else:
        azure = FakeAzure()
        with azure_cloud(azure, folder, patch) as running:
            yield f"azure:{azure.new_hsm_key() if kind == 'azure hsm' else azure.new_vault_key()}", running
