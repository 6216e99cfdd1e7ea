"""`sealwire luks` from plan to finish; its mistakes, and what is never shown."""

import json
from typing import Any

from sealwire.sidecars.luks.machine import Completed
from tests.cli.luks.runs import DEVICE, OPTIONS
from tests.cli.runs import Run
from tests.sidecars.luks import story
from tests.sidecars.luks.test_preflight import Site


def test_from_plan_to_finish(machine: Site, run: Run, secret: list[str]) -> None:
    assert run("setup", DEVICE, *OPTIONS, *secret, "--dry-run").code == 0
    assert machine.changes == 0
    assert run("setup", DEVICE, *OPTIONS, *secret, "--yes").code == 0
    assert machine.active
    shown = run("status", "--json")
    assert shown.code == 0
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
        shown = run(*arguments, "--json")
        assert shown.code == 0
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


def test_each_mistake_has_one_error_a_hint_and_its_exit_code(
    machine: Site, run: Run, secret: list[str]
) -> None:
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
