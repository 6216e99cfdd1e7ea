"""`sealwire luks status`: the answer of the kernel."""

import json
from pathlib import Path

import pytest

from tests.cli.runs import Run
from tests.sidecars.luks import story
from tests.sidecars.luks.test_preflight import Site


def test_status_is_no_where_the_data_is_in_clear(machine: Site, run: Run) -> None:
    assert run("status").code == 78
    where = ["--data-directory", story.DATA, "--service", "mongod.service"]
    shown = run("status", *where, "--json")
    assert shown.code == 1
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
