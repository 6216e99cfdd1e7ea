"""`sealwire luks plan` and `setup`: what is asked before anything is stopped or erased."""

import json
from pathlib import Path

import pytest

from tests.cli.luks.runs import DEVICE, OPTIONS
from tests.cli.runs import Run
from tests.sidecars.luks import story
from tests.sidecars.luks.model_files import PowerCut
from tests.sidecars.luks.test_preflight import SIGNATURES, Site, change


def test_a_plan_says_yes_or_no_by_its_exit_code(machine: Site, run: Run) -> None:
    assert run("plan", DEVICE, *OPTIONS).code == 0
    change("wipefs", SIGNATURES)(machine)
    shown = run("plan", DEVICE, *OPTIONS, "--json")
    assert shown.code == 1
    plan = json.loads(shown.out)
    assert plan["possible"] is False
    assert [finding["reason"] for finding in plan["findings"]] == ["device-not-empty"]
    assert len(plan["steps"]) == 11
    assert run("plan", DEVICE, *OPTIONS, "--erase").code == 0
    assert machine.changes == 0


def test_a_set_up_that_was_cut_off_is_resumed_and_not_begun_again(
    machine: Site, run: Run, secret: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.cut_before = 20
    with pytest.raises(PowerCut):
        run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    machine.boot()
    again = run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert again.code == 78
    assert "--resume" in again.err
    assert run("setup", DEVICE, "--resume").code == 2
    assert run("setup").code == 2
    assert run("setup", "--resume", *secret).code == 0
    story.assert_data_is_whole(machine)
    assert machine.mounts


def test_a_device_that_holds_something_is_erased_only_after_its_name_was_typed(
    machine: Site, run: Run, secret: list[str]
) -> None:
    change("wipefs", SIGNATURES)(machine)
    begin = ["setup", DEVICE, *OPTIONS, *secret]
    assert run(*begin, "--yes").code == 73
    assert run(*begin, "--erase", "--yes").code == 77
    assert run(*begin, "--erase", "--confirm", "/dev/sdc").code == 77
    assert machine.changes == 0
    assert run(*begin, "--erase", "--confirm", DEVICE).code == 0


def test_nothing_is_stopped_before_the_passphrase_is_known_and_strong(
    machine: Site, run: Run, tmp_path: Path, secret: list[str]
) -> None:
    (tmp_path / "secret").write_text("short")
    weak = run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert weak.code == 78
    assert "short" not in weak.err.replace("shorter", "")
    assert run("setup", DEVICE, *OPTIONS, "--yes").code == 78  # no terminal to ask on
    assert run("setup", DEVICE, *OPTIONS, *secret).code == 77  # neither --yes
    assert machine.changes == 0
    assert machine.active
