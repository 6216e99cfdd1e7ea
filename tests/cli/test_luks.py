"""`sealwire luks` on a machine in memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from sealwire.sidecars.luks import commands, journal
from sealwire.sidecars.luks.machine import Completed
from tests.cli.runs import Run
from tests.sidecars.luks import story
from tests.sidecars.luks.model import PowerCut
from tests.sidecars.luks.test_preflight import SIGNATURES, Site, change, site


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A machine in memory behind the commands; only the lock of the journal is a real file."""
    model = site()
    monkeypatch.setattr(journal, "DIRECTORY", tmp_path)
    monkeypatch.setattr(commands, "Machine", lambda: model)
    return model


BEGINS_WITH = ("luks",)


@pytest.fixture
def secret(tmp_path: Path) -> list[str]:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(story.PASSPHRASE)
    return ["--passphrase-from", f"file:{path}"]


DEVICE = str(story.SETTINGS.device)

OPTIONS = ["--key-file", str(story.KEY_FILE), "--file-system", "ext4"]


def test_a_volume_is_given_up_only_if_its_name_was_typed(machine: Site, run: Run, secret: list[str]) -> None:
    run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert run("rollback", "--abandon-volume", "--yes").code == 77
    assert machine.mounts
    assert run("rollback", "--abandon-volume", "--confirm", "mongodb").code == 0
    assert machine.mounts == {}


def test_from_plan_to_finish(machine: Site, run: Run, secret: list[str]) -> None:
    assert run("setup", DEVICE, *OPTIONS, *secret, "--dry-run").code == 0
    assert machine.changes == 0
    assert run("setup", DEVICE, *OPTIONS, *secret, "--yes").code == 0
    assert machine.active
    shown = run("status", "--json", code=0)
    report = json.loads(shown.out)
    assert report["encrypted"] is True
    assert (report["phase"], report["plaintext_copy"]) == ("complete", story.OLD)
    assert (report["cipher"], report["key_bits"]) == ("aes-xts-plain64", 512)
    assert run("finish", "--wipe-old", "--dry-run").code == 0
    assert run("finish", "--wipe-old").code == 77
    assert run("finish").code == 2
    assert machine.node(story.OLD) is not None
    assert run("finish", "--wipe-old", "--confirm", story.OLD).code == 0
    assert machine.node(story.OLD) is None
    assert run("rollback", "--dry-run").code == 0
    assert run("rollback").code == 77
    assert machine.mounts
    assert run("rollback", "--yes").code == 0
    story.assert_data_is_whole(machine)
    assert run("rollback", "--yes").code == 78


def test_programs_read_what_each_command_did(machine: Site, run: Run, secret: list[str]) -> None:
    def said(*arguments: str) -> dict[str, Any]:
        shown = run(*arguments, "--json", code=0)
        document: dict[str, Any] = json.loads(shown.out)
        return document

    assert said("setup", DEVICE, *OPTIONS, *secret, "--dry-run")["possible"] is True
    done = said("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert (done["dry_run"], done["phase"], done["plaintext_copy"]) == (False, "complete", story.OLD)
    steps = said("rollback", "--dry-run")["steps"]
    assert [step["state"] for step in steps] == ["done"] * 11
    changes = machine.changes
    assert said("finish", "--wipe-old", "--dry-run")["dry_run"] is True
    assert said("close", "--dry-run") == {
        "dry_run": True,
        "mapping": "/dev/mapper/mongodb",
        "service": "mongod.service",
    }
    assert machine.changes == changes
    assert said("close")["dry_run"] is False
    opened = {"mapping": "/dev/mapper/rescue", "mounted_at": "/run/rescue", "read_only": True}
    rescue = ("open", DEVICE, *secret, "--name", "rescue", "--read-only", "--mount", "/run/rescue")
    changes = machine.changes
    assert said(*rescue, "--dry-run") == {"dry_run": True, **opened}
    assert machine.changes == changes
    assert said(*rescue) == {"dry_run": False, **opened}
    said("close", "--name", "rescue", "--mount", "/run/rescue")
    assert said("rollback", "--yes", *secret)["phase"] == "rolled-back"


def test_a_mistake_has_one_error_a_hint_and_its_exit_code(machine: Site, run: Run, secret: list[str]) -> None:
    machine.answers["mount -o"] = Completed(32, b"", b"mount: wrong fs type\n")
    for code, arguments in (
        (78, ["plan", DEVICE, "--name", "a-b"]),
        (78, ["plan", DEVICE, "--data-directory", "/var/lib"]),
        (78, ["plan", DEVICE, "--pbkdf-memory", "1"]),
        (78, ["setup", DEVICE, *OPTIONS, "--passphrase-from", "nonsense"]),
        (78, ["setup", "--resume"]),
        (78, ["rollback", "--yes"]),
        (78, ["finish", "--wipe-old"]),
        (73, ["open", DEVICE, *secret]),
        (73, ["add-key", DEVICE, *secret]),
        (73, ["setup", "/dev/missing", *OPTIONS, *secret, "--yes"]),
    ):
        outcome = run(*arguments)
        assert outcome.code == code, arguments
        lines = [line.split(": ")[:2] for line in outcome.err.splitlines() if line.startswith("sealwire")]
        assert lines == [["sealwire", "error"], ["sealwire", "hint"]], arguments
    assert machine.changes == 0


def test_no_output_holds_a_secret(machine: Site, run: Run, secret: list[str]) -> None:
    outcomes = [
        run("setup", DEVICE, *OPTIONS, *secret, "--yes"),
        run("status", "--json"),
        run("rollback", "--yes", *secret),
    ]
    shown = "".join(outcome.out + outcome.err for outcome in outcomes)
    assert "luks: " in shown
    assert story.PASSPHRASE.decode() not in shown


def test_a_plan_says_yes_or_no_by_its_exit_code(machine: Site, run: Run) -> None:
    assert run("plan", DEVICE, *OPTIONS).code == 0
    change("wipefs", SIGNATURES)(machine)
    shown = run("plan", DEVICE, *OPTIONS, "--json", code=1)
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
    again = run("setup", DEVICE, *OPTIONS, *secret, "--yes", code=78)
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
    weak = run("setup", DEVICE, *OPTIONS, *secret, "--yes", code=78)
    assert "short" not in weak.err.replace("shorter", "")
    assert run("setup", DEVICE, *OPTIONS, "--yes").code == 78  # no terminal to ask on
    assert run("setup", DEVICE, *OPTIONS, *secret).code == 77  # neither --yes
    assert machine.changes == 0
    assert machine.active


def test_status_is_no_where_the_data_is_in_clear(machine: Site, run: Run) -> None:
    assert run("status").code == 78
    where = ["--data-directory", story.DATA, "--service", "mongod.service"]
    shown = run("status", *where, "--json", code=1)
    assert json.loads(shown.out)["plain_files"] == [f"{story.DATA}/journal"]
    assert run("status", *where).code == 1


@pytest.mark.parametrize(
    "where",
    [
        ["--data-directory", "/", "--service", "mongod.service"],
        ["--data-directory", "/var/lib", "--service", "mongod.service"],
        ["--data-directory", story.DATA, "--service", "mongod"],
        ["--data-directory", story.DATA, "--service", "mongod.service", "--name", "Mongo-DB"],
    ],
)
def test_status_takes_nothing_that_setup_refuses(machine: Site, run: Run, where: list[str | Path]) -> None:
    assert run("status", *where).code == 78


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
    run("open", DEVICE, *secret, "--name", "rescue", "--read-only", "--mount", "/run/rescue", code=0)
    assert machine.mounts == {"/run/rescue": "rescue"}
    assert run("open", DEVICE, *secret, "--name", "rescue").code == 78
    assert run("close", "--name", "rescue", "--mount", "/run/rescue").code == 0
    assert machine.mappings == {}
