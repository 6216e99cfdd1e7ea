"""The clouds of the tests of their providers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_azure import FakeAzure
from tests.support.fake_gcp import FakeGcp, azure_cloud, gcp_cloud
from tests.support.fake_https import FakeHttps


@pytest.fixture
def azure() -> FakeAzure:
    return FakeAzure()


@pytest.fixture
def azure_https(azure: FakeAzure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    with azure_cloud(azure, tmp_path, monkeypatch) as running:
        yield running


@pytest.fixture
def gcp_keys() -> FakeGcp:
    return FakeGcp()


@pytest.fixture
def gcp_https(gcp_keys: FakeGcp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHttps]:
    with gcp_cloud(gcp_keys, tmp_path, monkeypatch) as running:
        yield running
