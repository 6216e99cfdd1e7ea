"""A class in clear is encrypted, and put back, while an application goes on by two proxies."""

import json
import time
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from click.testing import CliRunner
from pymongo import MongoClient

from sealwire.cli.groups import migrate as command
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.record import DATABASE
from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.rotating_clinic import FIXED, NHS, VISITS, Application, fill, number_of
from tests.integration.running_site import client_of, first_move, moving_site
from tests.proxy.server.site import Site, serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TRANSACTIONS_S = 5
"""How long they may last on the server of these tests."""

LONGEST_S = 600.0


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    return moving_site(database, tmp_path, is_plaintext=True)


def move(site: Site, direction: str, *words: str) -> dict[str, Any]:
    line = [direction, str(site.folder / "policy.yaml"), NHS, *words, "--json"]
    done = CliRunner().invoke(command, line, env=site.environ)
    assert done.exit_code == 0, done.output
    # what the job says has none of the values
    assert not any(number_of(each) in done.output for each in range(FIXED))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def in_clear(client: MongoClient[Document]) -> set[bool]:
    """Whether the values that lie on the server are plaintext."""
    patients = [each[NHS] for each in client["clinic"]["patients"].find()]
    visits = [each["patient"] for each in client["clinic"]["visits"].find()]
    return {not (isinstance(each, Binary) and each.subtype == SUBTYPE) for each in patients + visits}


def assert_no_number(client: MongoClient[Document]) -> None:
    for name in ("frontiers", "jobs", "leases"):
        for document in client[DATABASE][name].find():
            raw = bson.encode(document)
            assert not any(number_of(each).encode() in raw for each in range(FIXED))


def test_every_answer_is_right_while_a_class_is_encrypted_and_put_back(
    site: Site, database: DatabaseProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the application works as hard as it can: the job would give way to it for most of the time
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with (
        serving(site, LONGEST_S) as first,
        serving(site, LONGEST_S) as second,
        client_of(first) as one,
        client_of(second) as two,
        database.connect() as direct,
    ):
        fill(one)
        assert in_clear(direct) == {True}
        application = Application((one, two))
        with application.at_work():
            assert move(site, "encrypt", *first_move(site))["state"] == "done"
            time.sleep(1.5)  # both proxies load the keyring in which the new version is active
            assert in_clear(direct) == {False}
            assert_no_number(direct)
            assert move(site, "decrypt", "--confirm", NHS)["state"] == "done"
            time.sleep(1.5)
        assert (application.wrong, application.failed) == ([], [])
        assert application.asked > 100
        assert {name: won for name, won in application.races.items() if won != 1} == {}
        assert in_clear(direct) == {True}
        patients = one["clinic"]["patients"]
        assert {each[NHS] for each in patients.find({"fixed": True})} == set(map(number_of, range(FIXED)))
        assert one["clinic"]["visits"].count_documents({"fixed": True}) == FIXED * VISITS
        names = [each[NHS] for each in patients.find({}, {NHS: 1})]
        assert len(names) == len(set(names))
