"""The clients of Python and Node, each with what runs its program."""

import sys

from tests.clients.harness import Client, program

FAST = (
    Client(
        "pymongo",
        "Python",
        lambda: [sys.executable, program("with_pymongo.py")],
        refused={"prefix": "pattern", "unknown command": "command"},
    ),
)
"""Cheap enough for `make test`."""
