"""`python -m bench` from end to end, with too little of everything to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.report import report
from bench.report.goals import GOALS


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)


def test_it_lists_its_parts_and_targets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--list"])
    assert main() == 0
    shown = capsys.readouterr().out
    for target in GOALS:
        assert target.name in shown


@pytest.mark.integration
@pytest.mark.slow(minutes=6)
def test_every_target_is_measured_and_every_part_runs() -> None:
    before = set(report.RESULTS.glob("*"))
    done = bench("bench", "--tiny")
    made = set(report.RESULTS.glob("*")) - before
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        written = json.loads(next(path for path in made if path.suffix == ".json").read_text())
    finally:
        for path in made:
            path.unlink()
    assert all(each["figure"] for each in written["targets"])
    assert written["not_measured"] == {}
    assert len([path for path in made if path.suffix == ".svg"]) == 4


@pytest.mark.integration
@pytest.mark.slow
def test_a_profile_is_a_flame_graph(tmp_path: Path) -> None:
    out = tmp_path / "flames.svg"
    done = bench("bench.profile", "find-one", "--seconds", "2", "--out", str(out))
    if "ermission" in done.stderr:
        pytest.skip("py-spy may not look into other processes here")
    assert done.returncode == 0, done.stderr
    assert "sealwire" in out.read_text()
