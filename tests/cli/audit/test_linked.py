"""Which pseudonyms stand for documents of a person, as a server in memory says it."""

from collections.abc import Iterator
from typing import Any, cast

from bson import ObjectId
from bson.int64 import Int64

from sealwire.audit.pseudonyms import Identifier, PseudonymKey
from sealwire.cli.audit.subject import PURPOSE, linked_names
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.direct import Client
from tests.proxy.session.world import value_bytes

POLICY = load_policy(
    b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}, text: {mode: random}}
collections:
  clinic.patients: {nhs: nhs, kin.nhs: nhs}
  clinic.staff: {note: text}
  ward.*: {nhs: nhs}
subjects:
  class: nhs
  links:
    clinic.visits.patient: clinic.patients._id
    clinic.letters.visit: clinic.visits.number
""",
    "policy.yaml",
)
KEY = PseudonymKey(bytes(32))
ANN = Identifier(*value_bytes("943"))
OBJECT = ObjectId()


class Server:
    """Answers `distinct` from a table, by collection and path, and notes what is asked."""

    def __init__(self, found: dict[str, list[Any]]) -> None:
        self.found = found
        self.asked: dict[str, Any] = {}
        self.name = ""

    def get_database(self, name: str, _options: object = None) -> "Server":
        made = Server(self.found)
        made.asked, made.name = self.asked, name
        return made

    def get_collection(self, name: str) -> "Server":
        return self.get_database(f"{self.name}.{name}")

    def list_collections(self) -> Iterator[dict[str, Any]]:
        kinds = {"7": "collection", "8": "view"}
        return ({"name": name, "type": kind} for name, kind in kinds.items() if self.name == "ward")

    def distinct(self, path: str, wanted: dict[str, Any], comment: dict[str, Any]) -> list[Any]:
        assert comment == {"sealwire": {"purpose": PURPOSE}}
        self.asked[f"{self.name}.{path}"] = wanted
        return self.found.get(f"{self.name}.{path}", [])


def test_ids_and_values_of_links_stand_for_the_persons_documents() -> None:
    found: dict[str, list[Any]] = {
        "clinic.patients._id": [OBJECT],
        "clinic.visits._id": [2**40],
        "clinic.visits.number": ["v1"],
        "clinic.letters._id": [1.0],
        "ward.7._id": [True, 1.5],
    }
    server = Server(found)
    assert POLICY.subjects is not None
    names = linked_names(cast(Client, server), POLICY, POLICY.subjects, ANN, KEY)
    values = [
        *(("clinic.patients._id", OBJECT), ("clinic.visits.number", "v1")),
        *(("clinic.visits._id", each) for each in (Int64(2**40), float(2**40))),
        *(("clinic.letters._id", each) for each in (1, Int64(1), 1.0)),
        *(("ward.7._id", each) for each in (True, 1.5)),
    ]
    assert names == {KEY.name_of(path, *value_bytes(value)): path for path, value in values}
    assert server.asked["clinic.patients._id"] == {"$or": [{"nhs": "943"}, {"kin.nhs": "943"}]}
    assert server.asked["clinic.visits.number"] == {"patient": {"$in": [OBJECT]}}
    assert server.asked["clinic.letters._id"] == {"visit": {"$in": ["v1"]}}
    assert not {"clinic.staff._id", "ward.8._id"} & server.asked.keys()
