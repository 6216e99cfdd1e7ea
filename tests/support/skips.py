"""When a test is left out: it lacks something, which fails where CI=true, or takes longer than CI has."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """For what the project can see to by itself, or what a machine of the CI has to have.

    What neither can change (no root, no such device) is a plain skip.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def takes_samples() -> bool:
    """Whether less than all is tried: `.ci/run` sets SEALWIRE_SAMPLES=1, to end within 35 minutes."""
    return os.environ.get("SEALWIRE_SAMPLES") == "1"


def skip_in_samples(what: str) -> None:
    """For what takes many minutes by itself."""
    if takes_samples():
        pytest.skip(f"{what} takes long: make test-slow without SEALWIRE_SAMPLES")
