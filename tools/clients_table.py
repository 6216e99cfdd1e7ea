"""What clients see through Sealwire, as tables of the README and docs/compatibility.md."""

import json
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "clients.json"
DIFFERENCES = ROOT / "tests" / "clients" / "pymongo_differences.toml"

_CLIENTS = "| client | language | version | direct = through Sealwire | notes |\n|---|---|---|---|---|\n"
_SUITE = "| what | why | tests |\n|---|---|---|\n"


def render_clients() -> str:
    """One line for each client: how many steps saw the same, what was refused, what is absent."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows.sort(key=lambda row: (row["language"], row["client"]))
    return _CLIENTS + "\n".join(map(_client, rows))


def _client(row: dict[str, Any]) -> str:
    same, refused = row["same"], row["refused"]
    notes = [f"{step}: refused, `{reason}`" for step, reason in sorted(refused.items())]
    for why in dict.fromkeys(row["absent"].values()):
        parts = ", ".join(part for part, reason in row["absent"].items() if reason == why)
        notes.append(f"no {parts}: {why}")
    notes += [] if row["compressors"] else ["not compressed"]
    notes += [row["note"]] if row["note"] else []
    steps = f"{len(same)} of {len(same) + len(refused)} steps"
    return f"| {row['client']} | {row['language']} | {row['version']} | {steps} | {'; '.join(notes)} |"


def render_driver_suite() -> str:
    """What was run of the driver's own tests, and a line for each reason that outcomes differ."""
    document = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))
    rows = "\n".join(map(_group, document["difference"]))
    return f"{document['measured']['text'].strip()}\n\n{_SUITE}{rows}"


def _group(group: dict[str, Any]) -> str:
    tests = "<br>".join(f"`{test.removeprefix('test.')}`" for test in group["tests"])
    return f"| {group['kind']} | {group['reason']} | {tests} |"
