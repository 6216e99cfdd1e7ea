"""Deterministic classes with keys for contexts are put back in clear, while an application goes on.

It is the application of `test_contexts_taken_in`, whose clients know every answer, by two proxies.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient

from sealwire.cli.groups import keys as keys_command
from sealwire.cli.groups import migrate as command
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.sidecars.errors import MigrationReason
from sealwire.sidecars.migration import engine
from sealwire.sidecars.migration.windows import turn as turn_module
from sealwire.sidecars.migration.windows.turn import Turn
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import first_move
from tests.integration.test_contexts_taken_in import (
    Application,
    Clients,
    clients_of,
    contexts_site,
    fill,
    migrate,
    refused,
    taken_in,
)
from tests.proxy.server.site import Site

pytestmark = pytest.mark.integration

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

AFTER_WINDOWS = 2
"""So many have moved when a process dies."""


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return contexts_site(database, tmp_path)


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[Clients]:
    with clients_of(site, database) as found:
        yield found


def line_of(site: Site, class_name: str, *words: str) -> list[str]:
    contexts = ("--contexts", str(site.folder / "contexts.db"))
    line = ["decrypt", str(site.folder / "policy.yaml"), class_name, *contexts, "--confirm", class_name]
    return [*line, *first_move(site), "--json", *words]


def put_back(site: Site, class_name: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(command, line_of(site, class_name, *words), env=site.environ)
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def of_jobs(site: Site, *line: str) -> Any:
    """What a command without a policy answers."""
    done = CliRunner().invoke(command, [*line, "--json"], env=site.environ)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


class Death(Exception):
    """The process is gone."""


def dies_half_way(site: Site, class_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The job of a process that ends with a window open; its values are waited for."""
    windows = iter(range(AFTER_WINDOWS))
    saved = Turn._saved

    def save(turn: Turn, frontier: Any) -> Any:
        found = saved(turn, frontier)
        if frontier.is_moving and next(windows, None) is None:
            raise Death
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Turn, "_saved", save)
        patched.setattr(turn_module, "FIRST_DOCUMENTS", 20)
        done = CliRunner().invoke(command, line_of(site, class_name), env=site.environ)
    assert isinstance(done.exception, Death), done.output
    (job,) = of_jobs(site, "status")["jobs"]
    assert job["state"] == "running"
    return str(job["job"])


def stored(direct: MongoClient[Document]) -> list[Any]:
    people, wards = direct["clinic"]["people"], direct["clinic"]["wards"]
    return [
        *(each["code"] for each in people.find()),
        *(visit["mark"] for each in wards.find() for visit in each["visits"]),
    ]


@pytest.mark.slow
def test_every_answer_is_right_while_classes_with_contexts_are_put_back(
    site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    first, second, direct = clients
    fill(first)
    assert all(isinstance(each, Binary) for each in stored(direct))
    application = Application((first, second))
    contexts = ("--contexts", str(site.folder / "contexts.db"))
    with application.at_work():
        job = dies_half_way(site, "code", monkeypatch)
        resumed = migrate(site, "resume", job, *contexts, "--json")
        assert json.loads(resumed.stdout)["state"] == "done"
        assert put_back(site, "mark")["state"] == "done"
        time.sleep(1.5)  # both proxies load the keyring in which the classes are in clear
    assert application.wrong == []
    assert application.asked > 50
    assert {name: won for name, won in application.races.items() if won != 1} == {}
    assert all(isinstance(each, str) for each in stored(direct))
    for name in ("frontiers", "jobs", "leases"):
        assert not any("code-" in str(each) for each in direct["sealwire"][name].find())
    migrate(site, "verify")
    # and they can be taken in again, by the keys that their contexts have still
    assert taken_in(site, "code")["state"] == "done"
    migrate(site, "verify")


def test_a_job_that_is_aborted_is_gone_on_with_by_the_next(
    site: Site, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, direct = clients
    fill(first)
    job = dies_half_way(site, "code", monkeypatch)
    assert "sealwire migrate decrypt POLICY code" in str(of_jobs(site, "abort", job))
    migrate(site, "verify", code=1)
    shred = ["shred", "code", "1", "--type", "int", "--contexts", str(site.folder / "contexts.db")]
    done = CliRunner().invoke(keys_command, shred, env=site.environ)
    assert isinstance(done.exception, KeySettingError), done.output
    assert done.exception.reason is KeysReason.KEY_STATE
    assert put_back(site, "code")["state"] == "done"
    assert all(isinstance(each["code"], str) for each in direct["clinic"]["people"].find())


def test_what_stands_in_the_way_is_said_before_anything_moves(site: Site, clients: Clients) -> None:
    first, _, direct = clients
    fill(first)
    people = direct["clinic"]["people"]
    words = [word for word in line_of(site, "code") if "contexts" not in word]
    lacking = CliRunner().invoke(command, words, env=site.environ)
    assert refused(lacking) is KeysReason.CONTEXTS
    whole = ["decrypt", str(site.folder / "policy.yaml"), "--confirm", "everything", *first_move(site)]
    assert refused(CliRunner().invoke(command, whole, env=site.environ)) is KeysReason.CONTEXTS
    assert load_keyring(site.keyring, EnvironmentKek(environ=site.environ)).pending_classes == ()
    people.create_index("code", unique=True)
    beyond = CliRunner().invoke(command, line_of(site, "code"), env=site.environ)
    assert refused(beyond) is MigrationReason.OBSTACLE
    people.drop_index("code_1")
    people.insert_one({"_id": "past", "tenant": 1, "code": "code-1"})
    stopped = put_back(site, "code", code=1)
    assert [each["reason"] for each in stopped["refusal"]] == ["in-clear"]
    assert direct["sealwire"]["frontiers"].find_one() is None
