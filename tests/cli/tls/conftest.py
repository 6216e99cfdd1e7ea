"""`sealwire tls`."""

import pytest


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("tls",)
