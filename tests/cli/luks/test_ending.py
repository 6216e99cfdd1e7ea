"""`sealwire luks rollback`: what is given up only when it was typed."""

from tests.cli.luks.runs import DEVICE, OPTIONS
from tests.cli.runs import Run
from tests.sidecars.luks.test_preflight import Site


def test_a_volume_is_given_up_only_after_its_name_was_typed(
    machine: Site, run: Run, secret: list[str]
) -> None:
    run("setup", DEVICE, *OPTIONS, *secret, "--yes")
    assert run("rollback", "--abandon-volume", "--yes").code == 77
    assert machine.mounts
    assert run("rollback", "--abandon-volume", "--confirm", "mongodb").code == 0
    assert machine.mounts == {}
