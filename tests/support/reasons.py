"""Errors as tests know them: by their class and their reason, never by their text."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TypeVar

import pytest

Error = TypeVar("Error", bound=BaseException)


@contextmanager
def raising(error: type[Error], reason: Enum) -> Iterator[pytest.ExceptionInfo[Error]]:
    """What is done inside has to raise this error for this reason."""
    with pytest.raises(error) as caught:
        yield caught
    found = caught.value.reason  # type: ignore[attr-defined]
    assert found is reason, found
