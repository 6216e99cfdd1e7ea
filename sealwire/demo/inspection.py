"""Questions to the running stage: what is stored, which plan a search has, what the files hold."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import Binary
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import SUBTYPE, parse_any_header
from sealwire.crypto.errors import InvalidEnvelope
from sealwire.demo.stage import Dataset
from sealwire.examples.patients import Patient
from sealwire.policies.file.schema import PolicySet, covered_fields

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
        {"registered": patient["registered"], "sex": patient["sex"]}
    )
    return None if found is None else {key: found[key] for key in found if key != "_id"}


def count_stored(raw: Client, policies: PolicySet) -> Stored:
    """Look at every document of every collection that the policy names. null and missing do not count.

    Shape:   `raw` is connected to the database itself, not to Sealwire
    """
    encrypted = readable = 0
    for namespace, tree in policies.collections.items():
        database, _, collection = namespace.partition(".")
        paths = [path.split(".") for path, _ in covered_fields(tree)]
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


# What the covered text values look like. A shape finds candidates fast; only a patient's own value counts.
# All but the first byte is looked ahead at, so that every offset of a run of digits is tried; the first is a
# literal, which lets the engine skip to it.
_SHAPES = (
    rb"9(?=(99[0-9]{7}))",
    rb"M(?=(RN[0-9]{7}))",
    rb"Z(?=(Z[0-9]{1,2} [0-9][A-Z]{2}))",
    rb"0(?=([0-9]{10}))",
    rb"S(?=(een by Dr [A-Z][a-z]+))",
)
_SHAPE = re.compile(b"|".join(_SHAPES))
_CHUNK_BYTES = 4 << 20
_OVERLAP_BYTES = 64


@dataclass(frozen=True, slots=True)
class Scan:
    """How much was read, and how often a covered value stood in it."""

    files: int
    size_bytes: int
    hits: int


def covered_texts(dataset: Dataset) -> frozenset[bytes]:
    """The text values that the policy covers; of the notes their beginning, which has a shape."""
    texts: set[str] = set()
    for patient in dataset.patients:
        texts |= {patient["nhs_number"], patient["mrn"]}
        texts |= {contact["phone"] for contact in patient["contacts"]}
        if patient["postcode"] is not None:
            texts.add(patient["postcode"])
        if patient["notes"] is not None:
            texts.add(patient["notes"].partition(".")[0])
    return frozenset(text.encode() for text in texts)


def scan_folder(folder: Path, texts: frozenset[bytes]) -> Scan:
    """Every file below `folder`, byte for byte. Cost: about 100 MB/s."""
    return total(_scan_file(file, texts) for file in sorted(folder.rglob("*")) if file.is_file())


def total(scans: Iterable[Scan]) -> Scan:
    parts = tuple(scans)
    return Scan(
        sum(part.files for part in parts),
        sum(part.size_bytes for part in parts),
        sum(part.hits for part in parts),
    )


def _scan_file(file: Path, texts: frozenset[bytes]) -> Scan:
    size_bytes = hits = 0
    for window, limit in _windows(file):
        size_bytes += limit
        matches = (match for match in _SHAPE.finditer(window) if match.start() < limit)
        hits += sum(1 for match in matches if match[0] + match[match.lastindex or 0] in texts)
    return Scan(1, size_bytes, hits)


def _windows(file: Path) -> Iterator[tuple[bytes, int]]:
    """The file in pieces, and up to which offset a match in each may begin: the rest comes again."""
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        return  # a running database removes files of its own
    with stream:
        window = stream.read(_CHUNK_BYTES)
        while chunk := stream.read(_CHUNK_BYTES):
            limit = max(0, len(window) - _OVERLAP_BYTES)
            yield window, limit
            window = window[limit:] + chunk
        yield window, len(window)
