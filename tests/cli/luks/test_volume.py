"""`sealwire luks open` and `close`."""

from pathlib import Path

from tests.cli.luks.runs import DEVICE, OPTIONS
from tests.cli.runs import Run
from tests.sidecars.luks import story
from tests.sidecars.luks.test_preflight import Site


def test_a_dry_run_of_opening_and_closing_says_what_would_fail(
    machine: Site, run: Run, secret: list[str], tmp_path: Path
) -> None:
    run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert run("open", DEVICE, *secret, "--dry-run").code == 78  # open already
    assert run("close", "--name", "other", "--dry-run").code == 78
    (tmp_path / "secret").write_text("wrong")
    assert run("open", DEVICE, *secret, "--name", "rescue", "--dry-run").code == 77


def test_volumes_are_opened_and_closed(machine: Site, run: Run, secret: list[str], tmp_path: Path) -> None:
    run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert run("close").code == 0
    assert not machine.active
    assert machine.mappings == machine.mounts == {}
    assert run("close").code == 78
    (tmp_path / "secret").write_text("wrong")
    assert run("open", DEVICE, *secret).code == 77
    (tmp_path / "secret").write_bytes(story.PASSPHRASE)
    opened = run("open", DEVICE, *secret, "--name", "rescue", "--read-only", "--mount", "/run/rescue")
    assert opened.code == 0
    assert machine.mounts == {"/run/rescue": "rescue"}
    assert run("open", DEVICE, *secret, "--name", "rescue").code == 78
    assert run("close", "--name", "rescue", "--mount", "/run/rescue").code == 0
    assert machine.mappings == {}
