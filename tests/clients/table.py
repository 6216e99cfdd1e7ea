"""The clients of Python and Node, each with what runs its program."""

import sys
from collections.abc import Callable

import pytest

from tests.clients.environment import client_python
from tests.clients.harness import Client, Command, program
from tests.node_programs import NODE, missing, require_mongosh
from tests.support.skips import skip_or_fail


def _python(name: str) -> Callable[[], Command]:
    return lambda: [client_python(), program(name)]


def _django() -> Command:
    if sys.version_info < (3, 12):
        pytest.skip("Django's backend needs Python 3.12")
    return [client_python(), program("with_django.py")]


def _node(package: str, name: str) -> Callable[[], Command]:
    def command() -> Command:
        reason = missing(NODE / "node_modules" / package / "package.json")
        if reason is not None:
            skip_or_fail(reason)
        return ["node", program(name)]

    return command


def _mongosh() -> Command:
    return [require_mongosh(), "--quiet", "--norc", "--file", program("with_mongosh.js")]


_READS_AND_INSERTS = "it reads and inserts"

FAST = (
    Client(
        "pymongo",
        "Python",
        lambda: [sys.executable, program("with_pymongo.py")],
        refused={"prefix": "pattern", "unknown command": "unknown-command"},
    ),
)
"""Cheap enough for `make test`."""

SLOW = (
    Client("pymongo (async)", "Python", _python("with_pymongo_async.py")),
    Client("motor", "Python", _python("with_motor.py")),
    Client("beanie", "Python", _python("with_beanie.py")),
    Client("mongoengine", "Python", _python("with_mongoengine.py"), absent={"transaction": "it has none"}),
    Client(
        "django-mongodb-backend",
        "Python",
        _django,
        absent={"find and modify": "the ORM has none", "GridFS": "the ORM has none"},
        note="groups by pipelines: the test server lacks the ORM's `$unionWith`",
    ),
    Client(
        "pymongoarrow and pandas",
        "Python",
        _python("with_pymongoarrow.py"),
        absent={
            "update": _READS_AND_INSERTS,
            "find and modify": _READS_AND_INSERTS,
            "change stream": _READS_AND_INSERTS,
            "bulk": "its bulk writes are inserts",
            "GridFS": _READS_AND_INSERTS,
        },
    ),
    Client("mongodb (Node.js)", "JavaScript", _node("mongodb", "with_node_driver.mjs")),
    Client("mongoose", "JavaScript", _node("mongoose", "with_mongoose.mjs")),
    Client("mongosh", "JavaScript", _mongosh, absent={"GridFS": "the shell has none"}),
)
"""In `make test-slow`."""
