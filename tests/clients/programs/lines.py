"""What the Python programs print: JSON lines, keys in order."""

import json
from typing import Any


def head(client: str, version: str) -> None:
    """The first line."""
    print(json.dumps({"client": client, "version": version}), flush=True)


def say(step: str, seen: Any) -> None:
    """The line of one step."""
    print(json.dumps({"step": step, "seen": seen}, sort_keys=True, default=str), flush=True)


def failure(error: Any) -> dict[str, Any]:
    """A server's error as a program sees it."""
    details = error.details or {}
    return {
        "code": error.code,
        "keyValue": details.get("keyValue"),
        "labels": sorted(details.get("errorLabels", [])),
        "message": details.get("errmsg", ""),
        "name": details.get("codeName"),
    }
