"""`migrate plan` before a mongos says which shard keys keep values from moving, before anybody begins."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.migrate.clinics import Clinic
from tests.integration.migrate.patients import PATIENTS, patient
from tests.support.played_set import Document, play_mongos

pytestmark = pytest.mark.integration


@contextmanager
def sharded(clinic: Clinic, answer: Document) -> Iterator[Clinic]:
    """The clinic behind what looks like a mongos, which answers a look at `config.collections` like this."""
    server = play_mongos(clinic.database.address)

    def play(name: str, command: Document) -> Document | None:
        return answer if name == "find" and command["$db"] == "config" else None

    server.play = play
    try:
        yield replace(clinic, environ=clinic.environ | {"SEALWIRE_SERVER_URI": f"mongodb://{server.name}/"})
    finally:
        server.stop()


def cursor(*found: Document) -> Document:
    return {"ok": 1.0, "cursor": {"id": 0, "ns": "config.collections", "firstBatch": list(found)}}


def test_a_shard_key_of_a_covered_path_is_in_the_plan(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    key = {"_id": PATIENTS, "key": {"ward": 1, "notes": 1}}
    with sharded(clinic, cursor(key)) as site:
        done = site.migrate("plan", site.policy(), "--json")
        (found,) = json.loads(done.stdout)["collections"]
        assert "notes" in found["shard_key"]
        assert found["refused"] is None
        assert found["documents"] == 1
        assert found["shard_key"] in site.migrate("plan", site.policy()).stdout


def test_another_shard_key_is_not(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    with sharded(clinic, cursor({"_id": PATIENTS, "key": {"ward": 1}})) as site:
        (found,) = json.loads(site.migrate("plan", site.policy(), "--json").stdout)["collections"]
        assert found["shard_key"] is None
        assert "in the way" not in site.migrate("plan", site.policy()).stdout


def test_a_plan_is_shown_where_the_shard_key_may_not_be_read(clinic: Clinic, stored: Any) -> None:
    stored.insert_one(patient(1))
    with sharded(clinic, {"ok": 0.0, "code": 13, "errmsg": "denied"}) as site:
        done = site.migrate("plan", site.policy(), "--json")
        assert done.exit_code == 0
        (found,) = json.loads(done.stdout)["collections"]
        assert "config.collections" in found["shard_key"]
