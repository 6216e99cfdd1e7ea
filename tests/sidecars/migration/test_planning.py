"""Whether covered paths are in a shard key, as a mongos says it; no other server is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.planning import foreseen_split, split_by
from sealwire.sidecars.migration.windows.frontiers import refuse_class_obstacles
from sealwire.sidecars.migration.windows.order import class_paths
from tests.policies.support import POLICY
from tests.support.played_set import Document, PlayedServer, play_mongos

NAMESPACE = "clinic.patients"


@contextmanager
def before(server: PlayedServer, *found: Document, code: int = 0) -> Iterator[MongoClient[RawBSONDocument]]:
    """A client of a server whose collections of collections hold `found`, or that answers with an error."""

    def play(name: str, command: Document) -> Document | None:
        if name == "listCollections":
            listed = [{"name": "patients", "type": "collection", "options": {}}]
            return {"ok": 1.0, "cursor": {"id": 0, "ns": "clinic.$cmd", "firstBatch": listed}}
        if name == "find" and code:
            return {"ok": 0.0, "code": code, "errmsg": "denied"}
        if name == "find":
            named = [each for each in found if each["_id"] == command["filter"]["_id"]]
            return {"ok": 1.0, "cursor": {"id": 0, "ns": "config.collections", "firstBatch": named}}
        return None

    server.play = play
    host, port = server.name.split(":")
    try:
        with MongoClient[Any](host, int(port), document_class=RawBSONDocument) as client:
            yield client
    finally:
        server.stop()


def keyed(**key: Any) -> Document:
    return {"_id": NAMESPACE, "key": key}


@pytest.mark.parametrize("path", ["nhs_number", "address", "address.postcode.outward"])
def test_a_path_of_the_shard_key_or_above_or_below_it_stands_in_the_way(path: str) -> None:
    key = {"_id": NAMESPACE, "key": {"ward": 1, "nhs_number": "hashed", "address.postcode": 1}}
    with before(play_mongos(), key) as client:
        assert path in split_by(client, NAMESPACE, ["notes", path])


def test_other_paths_and_other_collections_do_not() -> None:
    with before(play_mongos(), keyed(nhs_number=1)) as client:
        assert split_by(client, NAMESPACE, ["nhs", "notes", "x.nhs_number"]) == ""
        assert split_by(client, "clinic.visits", ["nhs_number"]) == ""
    with before(play_mongos(), {**keyed(nhs_number=1), "dropped": True}) as client:
        assert split_by(client, NAMESPACE, ["nhs_number"]) == ""


def test_a_server_that_is_no_mongos_is_asked_no_further() -> None:
    server = PlayedServer()
    with before(server, keyed(nhs_number=1)) as client:
        assert split_by(client, NAMESPACE, ["nhs_number"]) == ""
        assert "find" not in server.asked


def test_a_mongos_that_does_not_tell_is_no_leave() -> None:
    with before(play_mongos(), code=13) as client, pytest.raises(OperationFailure):
        split_by(client, NAMESPACE, ["nhs_number"])


def test_a_plan_says_what_it_may_not_ask_and_fails_for_any_other_error() -> None:
    with before(play_mongos(), keyed(nhs_number=1)) as client:
        assert foreseen_split(client, NAMESPACE, ["nhs_number"]) == split_by(
            client, NAMESPACE, ["nhs_number"]
        )
    with before(play_mongos(), code=13) as client:
        assert "config.collections" in foreseen_split(client, NAMESPACE, ["nhs_number"])
    with before(play_mongos(), code=50) as client, pytest.raises(OperationFailure):
        foreseen_split(client, NAMESPACE, ["nhs_number"])


def test_a_class_in_a_shard_key_is_not_rotated() -> None:
    places = class_paths(POLICY, [NAMESPACE], "nhs")
    field_class = POLICY.classes["nhs"]
    with before(play_mongos(), keyed(nhs_number=1)) as client, pytest.raises(Unusable) as caught:
        refuse_class_obstacles(client, places, Direction.REENCRYPT, field_class)
    assert caught.value.reason is MigrationReason.OBSTACLE
    with before(play_mongos(), keyed(ward=1)) as client:
        refuse_class_obstacles(client, places, Direction.REENCRYPT, field_class)
