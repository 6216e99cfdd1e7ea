"""Questions to the running stage: what is stored, which plan a search has, how a refusal reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bson import Binary
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE, parse_any_header
from sealwire.crypto.errors import InvalidEnvelope
from sealwire.examples.patients import Patient
from sealwire.policies.file.schema import PolicySet, leaves

Document = dict[str, Any]
Client = MongoClient[Document]


@dataclass(frozen=True, slots=True)
class Stored:
    """How many values stand at covered paths of a whole database: as envelopes, and readable."""

    encrypted: int
    readable: int


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The stages of a winning plan from the outermost in, and the index that it uses ("" for none)."""

    stages: tuple[str, ...]
    index: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A command error as the application's driver reports it."""

    code: int
    code_name: str
    message: str


def find_patient(client: Client, patient: Patient) -> Document | None:
    """The document of `patient`, found without any covered field: works on raw databases too."""
    found = client.get_default_database()["patients"].find_one(
        {"registered": patient["registered"], "name": patient["name"]}
    )
    return None if found is None else {key: found[key] for key in found if key != "_id"}


def count_stored(raw: Client, policies: PolicySet) -> Stored:
    """Look at every document of every collection that the policy names. null and missing do not count.

    Shape:   `raw` is connected to the database itself, not to Sealwire
    """
    encrypted = readable = 0
    for namespace, tree in policies.collections.items():
        database, _, collection = namespace.partition(".")
        paths = [leaf.path.split(".") for leaf in leaves(tree)]
        for document in raw[database][collection].find():
            found = [is_envelope(value) for path in paths for value in _values(document, path)]
            encrypted += sum(found)
            readable += len(found) - sum(found)
    return Stored(encrypted, readable)


def is_envelope(value: object) -> bool:
    """Whether a value as the database stores it is one of Sealwire's envelopes."""
    if not isinstance(value, Binary) or value.subtype != SUBTYPE:
        return False
    try:
        parse_any_header(value)
    except InvalidEnvelope:
        return False
    return True


def flatten(document: Document) -> Document:
    """Every value by its path, with positions in arrays: `contacts.0.phone`."""
    flat: Document = {}
    for key, value in document.items():
        children = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(children, dict):
            below = flatten({str(child): children[child] for child in children})
            flat |= {f"{key}.{path}": leaf for path, leaf in below.items()}
        else:
            flat[key] = value
    return flat


def explain_search(client: Client, nhs_number: str) -> SearchPlan:
    """How the database would answer a find by NHS number."""
    plan = client.get_default_database()["patients"].find({"nhs_number": nhs_number}).explain()
    stages: list[str] = []
    index = ""
    stage = plan["queryPlanner"]["winningPlan"]
    while stage is not None:
        stages.append(stage["stage"])
        index = stage.get("indexName", index)
        stage = stage.get("inputStage")
    return SearchPlan(tuple(stages), index)


def search_by_regex(client: Client, beginning: str) -> Refused | None:
    """Ask for NHS numbers with a certain beginning; None when that was answered."""
    try:
        client.get_default_database()["patients"].find_one({"nhs_number": {"$regex": f"^{beginning}"}})
    except OperationFailure as error:
        details: Mapping[str, Any] = error.details or {}
        return Refused(error.code or 0, str(details.get("codeName", "")), str(details.get("errmsg", "")))
    return None


def _values(value: object, path: list[str]) -> Iterator[object]:
    """What stands at `path`, seen through arrays; nulls left out."""
    if isinstance(value, list):
        for element in value:
            yield from _values(element, path)
    elif not path:
        if value is not None:
            yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])
