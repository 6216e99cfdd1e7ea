"""Tables of tests."""

from collections.abc import Callable
from typing import Any

import pytest


def rows(names: str, *table: Any, ids: Callable[[Any], object | None] | None = None) -> pytest.MarkDecorator:
    """Run a test once for each row. A row is a tuple of arguments, or the argument if there is one name.

    names: of the arguments, with commas between them.
    ids: makes a part of a test's name from an argument; else documents and lists stand in it as written.
    """
    return pytest.mark.parametrize(names, table, ids=ids or _shown)


def _shown(argument: Any) -> str | None:
    return repr(argument) if isinstance(argument, dict | list | tuple) else None
