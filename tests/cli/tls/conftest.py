"""`sealwire tls verify` in this process."""

import pytest


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("tls", "verify")
