"""No server in the environment."""

import pytest


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "BAO_ADDR", "VAULT_TOKEN", "BAO_TOKEN", "SEALWIRE_VAULT_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("vault",)
