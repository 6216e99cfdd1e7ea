"""Tables of tests."""

from collections.abc import Callable
from typing import Any, Final

import pytest

_LONGEST: Final = 200


def rows(names: str, *table: Any, ids: Callable[[Any], object | None] | None = None) -> pytest.MarkDecorator:
    """Run a test once for each row. A row is a tuple of arguments, or the argument if there is one name.

    names: of the arguments, with commas between them.
    ids: makes a part of a test's name from an argument; else short documents and lists name themselves.
    """
    return pytest.mark.parametrize(names, table, ids=ids or _shown)


def _shown(argument: Any) -> str | None:
    """None leaves the name to pytest. A name is the same in each process, so it has no address in it."""
    text = repr(argument) if isinstance(argument, dict | list | tuple) else ""
    return text if 0 < len(text) <= _LONGEST and " at 0x" not in text else None
