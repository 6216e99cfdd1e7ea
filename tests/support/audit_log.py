"""The audit log of a proxy that runs: its writer is another process, some milliseconds behind."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.audit.files import files_of
from sealwire.audit.verification import LogReport, verify

_DEADLINE_S = 30.0
_REFUSED = b'"event":"refused"'
_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def lines_of(path: Path, event: str = "") -> list[dict[str, Any]]:
    """The lines of this event, or all, as far as they are whole: the writer may be within the last one."""
    lines = [json.loads(line) for line in _whole(path).splitlines()]
    return [line for line in lines if event in ("", line["event"])]


def assert_whole(path: Path) -> None:
    """Nothing is missing from the log, and nothing was changed in it."""
    report = LogReport()
    verify(files_of(path), {}, report)
    assert report.is_whole


def until_refusals(path: Path, count: int) -> None:
    """Return when so many refusals are in the log."""
    _until(path, _REFUSED, count)


def _whole(path: Path) -> bytes:
    """The log up to the end of its last whole line."""
    return path.read_bytes().rpartition(b"\n")[0]


def _until(path: Path, text: bytes, count: int) -> None:
    end_s = time.monotonic() + _DEADLINE_S
    while _whole(path).count(text) < count:
        assert time.monotonic() < end_s, "the audit writer has not come by"
        time.sleep(0.002)


def until_written(path: Path, client: MongoClient[Any], path_in_policy: str) -> None:
    """Return when all that the proxy's one worker has reported is in the log: a refusal is behind it.

    It has a purpose of its own: other refusals may be on their way. The log screens and cuts purposes,
    so this one is short and has no digits.
    """
    purpose = uuid.uuid4().hex[:24].translate(_LETTERS)
    with pytest.raises(OperationFailure):
        client["clinic"]["patients"].find_one(
            {path_in_policy: {"$regex": "x"}}, comment={"sealwire": {"purpose": purpose}}
        )
    _until(path, purpose.encode(), 1)
