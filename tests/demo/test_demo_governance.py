"""`sealwire demo governance` as a user runs it: every claim holds, and nothing is left but the pages."""

import json
import os
import sys
from pathlib import Path

import pytest

from sealwire.demo.governance_story import PAGES
from tests.support import warm

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_every_claim_holds_and_no_page_shows_a_patient(tmp_path: Path) -> None:
    pages, temporary = tmp_path / "pages", tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "sealwire", "demo", "governance", "--patients", "120"]
    done = warm.run(
        [*command, "--pages", str(pages), "--json"],
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["holds"] is True
    assert [each["check"]["passed"] for each in story["chapters"]] == [True] * 7
    assert [Path(page).name for page in story["pages"]] == list(PAGES)
    clinician = dict(story["chapters"][0]["shown"])["clinician"]
    name, number, _ = clinician.split(", ")
    for page in PAGES:
        text = (pages / page).read_text(encoding="utf-8")
        assert name not in text
        assert number not in text
    assert list(temporary.iterdir()) == []


# `sealwire demo migration` as a user runs it: every claim holds, and nothing is left.


def test_a_clinic_is_taken_in_and_given_back_while_it_works(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sealwire", "demo", "migration", "--patients", "100", "--json"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = warm.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert story["holds"] is True
    assert len(story["chapters"]) == 5
    assert all(check["passed"] for check in story["checks"])
    assert list(tmp_path.iterdir()) == []
