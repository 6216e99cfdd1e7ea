"""Errors as tests know them: by their class and their reason, never by their text."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TypeVar

import pytest
from pymongo.errors import OperationFailure

Error = TypeVar("Error", bound=BaseException)


@contextmanager
def failing(code: int) -> Iterator[pytest.ExceptionInfo[OperationFailure]]:
    """What is done inside has to end with this code, of the server or of Sealwire."""
    with pytest.raises(OperationFailure) as caught:
        yield caught
    assert caught.value.code == code


def refused(action: Callable[[], object], kind: type[Error], reason: Enum) -> Error:
    """The error that an action raises: of just this class, for this reason, and with no other behind it."""
    with raising(kind, reason) as caught:
        action()
    assert (type(caught.value), caught.value.__cause__) == (kind, None)
    return caught.value


@contextmanager
def raising(error: type[Error], reason: Enum) -> Iterator[pytest.ExceptionInfo[Error]]:
    """What is done inside has to raise this error for this reason."""
    with pytest.raises(error) as caught:
        yield caught
    found = caught.value.reason  # type: ignore[attr-defined]
    assert found is reason, found
