"""The README's table of unchanged clients, from docs/clients.json, which `make clients` writes."""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "clients.json"

_HEAD = "| client | language | version | direct = through Sealwire | notes |\n|---|---|---|---|---|\n"


def render_clients() -> str:
    """One line for each client: how many steps saw the same, and what was refused with which reason."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    return _HEAD + "\n".join(
        _line(row) for row in sorted(rows, key=lambda row: (row["language"], row["client"]))
    )


def _line(row: dict[str, object]) -> str:
    same, refused = row["same"], row["refused"]
    if not isinstance(same, list) or not isinstance(refused, dict):
        raise TypeError(f"docs/clients.json: {row['client']} has no steps")
    notes = [f"{step}: refused, `{reason}`" for step, reason in sorted(refused.items())]
    notes += [str(row["note"])] if row["note"] else []
    steps = f"{len(same)} of {len(same) + len(refused)} steps"
    return f"| {row['client']} | {row['language']} | {row['version']} | {steps} | {'; '.join(notes)} |"
