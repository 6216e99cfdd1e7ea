"""What becomes of a test that lacks something: it is skipped on a workstation, and fails where CI=true."""

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
