"""Reports in a browser: nobody is kept out, nothing is cut off, and on paper the ground is white."""

import json
from pathlib import Path

import pytest

from sealwire.cli.pages import PageSection, PageTable, ReportPage, columns, rows, unverified, write_page
from sealwire.files.html.frame import Mark, Tone
from tests.node_programs import NODE, require_chromium
from tests.support import warm

pytestmark = [pytest.mark.integration]

USERS = (("clinician@admin", 812), ("nightly-export@reporting", 301), ("reception@admin", 54))


def a_report(path: Path) -> None:
    days = [(f"2026-11-{day:02d}", day * 37 % 90) for day in range(1, 28)]
    plots = (columns("Lines each day", days), rows("Lines by user", USERS), rows("By event", USERS[:1]))
    marks = [
        ("one", Mark("pass", Tone.FINE)),
        ("two", Mark("partly", Tone.LOOK)),
        ("three", Mark("fail", Tone.ACT)),
    ]
    tables = (
        PageTable.of(("user", "lines"), USERS),
        PageTable.of(("check", "outcome"), marks),
        PageTable.of(("path", "hash"), [("/var/log/sealwire/" + "a" * 80, "0" * 64)]),
    )
    sections = (PageSection("Overview", ("What was counted.",), plots), PageSection("Counts", (), (), tables))
    facts = (("log", "/var/log/sealwire/audit.jsonl"), ("lines", 1167))
    write_page(path, ReportPage("Audit report", unverified("1167 lines"), facts, sections))


def test_a_report_can_be_read_on_every_screen_and_on_paper(tmp_path: Path) -> None:
    chromium = require_chromium()
    a_report(tmp_path / "report.html")
    command: list[str | Path] = ["node", NODE / "look_at_report.mjs", chromium, tmp_path / "report.html"]
    looks = json.loads(warm.run(command, capture_output=True, text=True, timeout=180, check=True).stdout)
    assert len(looks) == 7
    for name, look in looks.items():
        assert (name, look["violations"]) == (name, [])
        assert (name, look["overflow"]) == (name, 0)
    assert looks["paper-dark"]["background"] == "rgb(255, 255, 255)"
    assert looks["1024-dark"]["background"] != looks["1024-light"]["background"]
