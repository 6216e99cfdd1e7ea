"""The audit log of a proxy that runs: its writer is another process, some milliseconds behind."""

import time
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

_DEADLINE_S = 10.0
_REFUSED = b'"event":"refused"'


def until_refusals(path: Path, count: int) -> None:
    """Return when so many refusals are in the log."""
    end_s = time.monotonic() + _DEADLINE_S
    while path.read_bytes().count(_REFUSED) < count:
        assert time.monotonic() < end_s, "the audit writer has not come by"
        time.sleep(0.002)


def until_written(path: Path, client: MongoClient[Any], path_in_policy: str) -> None:
    """Return when all that the proxy's one worker has reported is in the log: a refusal is behind it."""
    before = path.read_bytes().count(_REFUSED)
    with pytest.raises(OperationFailure):
        client["clinic"]["patients"].find_one({path_in_policy: {"$regex": "x"}})
    until_refusals(path, before + 1)
