"""`python -m bench` from end to end, with too little of everything to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import contexts, instructions
from bench.__main__ import main
from bench.contexts import measure
from bench.profile import without_paths
from bench.report import report
from bench.report.goals import GOALS
from tests.build_context import ROOT


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


def test_every_figure_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "_SINGLE", 200)
    monkeypatch.setattr(contexts, "_USES", 2000)
    found = measure(tmp_path / "contexts.db", 300)
    assert len(found) == 9
    # the others may be too small to show
    rates = [figure for name, figure in found.items() if name.endswith(", 1/s")]
    assert (len(rates), min(rates) > 0) == (6, True)
    # of so few keys the process may have given back more memory than they took
    del found["memory, bytes a key at hand"]
    assert {name.split(",")[0] for name in found} == {
        *("first use", "store", "start-up", "looked up", "encrypted")
    }


@pytest.mark.parametrize("workload", instructions.COUNTS)
def test_every_workload_can_be_driven(
    workload: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.instructions", workload, "--drive", "2"])
    assert instructions.main() == 0
    assert capfd.readouterr().err == ""


@pytest.mark.plain_core  # says that the core is plain
def test_a_plain_core_is_not_counted() -> None:
    command = [sys.executable, "-m", "bench.instructions", "find-one"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "tools/compiled_tree.py --run bench.instructions" in done.stderr


def test_a_picture_holds_no_command_lines() -> None:
    made = (
        '<text id="title" x="5">/opt/app/.venv/bin/py-spy record --output /opt/app/a.svg</text>'
        "<title>process 12:&quot;/opt/app/.venv/bin/python -m sealwire serve&quot; (9 samples, 3%)</title>"
        "<title>data_received (5 samples, 2%)</title>"
    )
    assert without_paths(made, "find-one") == (
        '<text id="title" x="5">find-one</text>'
        "<title>sealwire (9 samples, 3%)</title>"
        "<title>data_received (5 samples, 2%)</title>"
    )
