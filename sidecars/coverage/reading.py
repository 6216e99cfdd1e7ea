"""Reads collections of a server for what lies in their fields."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml
from bson import decode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import SERVER_DATABASES, PolicySet, belongs_to_server
from sealwire.sidecars.coverage.fields import Cover, FieldCounts, FieldReport
from sealwire.sidecars.coverage.likely import Personal
from sealwire.sidecars.direct import RAW, Client, documents_of, failure

RIGHTS = "log in as a user that may list collections and read them (read)"
"""The hint where the server denies something."""
# a date that no datetime holds stays a number of milliseconds
_DECODED: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


# The lines that a policy lacks: a class for each kind of field, and the paths that it should cover.
#
# They are a beginning. Which fields are searched for by equality, and so need a deterministic class,
# their owners know; what is suggested is what each kind is usually searched by.

_CLASSES: Final[Mapping[Personal, tuple[str, bool]]] = {
    Personal.EMAIL: ("email", True),
    Personal.NHS_NUMBER: ("nhs_number", True),
    Personal.NATIONAL_INSURANCE: ("national_insurance", True),
    Personal.NATIONAL_NUMBER: ("national_number", True),
    Personal.IBAN: ("iban", True),
    Personal.CARD: ("card", False),
    Personal.PHONE: ("phone", True),
    Personal.POSTCODE: ("postcode", False),
    Personal.IP_ADDRESS: ("ip_address", False),
    Personal.BIRTH_DATE: ("birth_date", False),
    Personal.SPECIAL: ("special_category", False),
    Personal.HEALTH: ("health", False),
    Personal.PERSON_NUMBER: ("person_number", True),
    Personal.NAME: ("person_name", False),
    Personal.ADDRESS: ("address", False),
    Personal.TRAIT: ("trait", False),
}
"""The name of a class, and whether such a field is usually searched by equality: identifiers are."""
_FREE_TEXT: Final = ("free_text", False)
"""A text is not searched by equality for what it contains."""


@dataclass(frozen=True, slots=True)
class CollectionFields:
    """What lies in the fields of one collection."""

    namespace: str
    documents: int
    """Documents that were read."""
    fields: tuple[FieldReport, ...]
    problem: str = ""
    """Why it was not read to its end, or not all of its fields are here."""
    long_texts: int = 0
    """Texts of which only the beginning was searched."""


def suggested(found: Iterable[CollectionFields]) -> str:
    """YAML of `classes` and `collections`, to be merged into a policy; empty where nothing is missing.

    A path that a policy cannot name is a comment: `_id`, and one with a number or a dollar sign for a name.
    """
    classes: dict[str, dict[str, str]] = {}
    collections: dict[str, dict[str, str]] = {}
    left: list[str] = []
    for each in found:
        for field in each.fields:
            if field.cover is not Cover.PERSONAL or field.kind is None:
                continue
            if not _can_be_covered(field.path):
                left.append(f"# {each.namespace} {field.path!r} looks personal, and no policy can cover it\n")
                continue
            name, is_searched = _FREE_TEXT if field.in_text else _CLASSES[field.kind]
            settings = {"mode": "random"}
            if is_searched and field.value_type:
                settings = {"mode": "deterministic", "type": field.value_type}
                # one class has one type: fields of another are other fields
                name = name if field.value_type == "string" else f"{name}_{field.value_type}"
            classes[name] = settings
            collections.setdefault(each.namespace, {})[field.path] = name
    if not classes:
        return "".join(left)
    return "".join(left) + yaml.safe_dump(
        {"classes": classes, "collections": collections}, sort_keys=True, allow_unicode=True
    )


def _can_be_covered(path: str) -> bool:
    parts = path.split(".")
    return parts[0] != "_id" and not any(not part or part.startswith("$") or part.isdigit() for part in parts)


def databases_of(policies: PolicySet) -> list[str]:
    """The databases that a policy names, by name; those that it means by a pattern are not among them."""
    named = [*policies.collections, *(pattern for pattern, _ in policies.patterns)]
    return sorted({name for name, _, _ in (each.partition(".") for each in named) if "*" not in name})


def databases_on(client: Client) -> list[str]:
    """Every database but MongoDB's own, by name. Raises what the driver raises."""
    return sorted(set(client.list_database_names()) - SERVER_DATABASES)


def namespaces_in(client: Client, databases: Iterable[str]) -> list[str]:
    """Every collection of these databases that has documents of its own. Raises what the driver raises."""
    found = []
    for database in databases:
        for listed in client.get_database(database, RAW).list_collections():
            namespace = f"{database}.{listed['name']}"
            if listed.get("type", "collection") != "view" and not belongs_to_server(namespace):
                found.append(namespace)
    return sorted(found)


def read_fields(
    client: Client, namespace: str, policies: PolicySet, sample: int | None, progress: Callable[[int], None]
) -> CollectionFields:
    """Read all documents, or a random `sample` of them; `progress` is told of each.

    What the server refuses, and a document that is none, becomes a part of the report. Raises LibraryMissing.
    """
    fields = FieldCounts(policies.covered(namespace))
    problem = ""
    try:
        for raw in documents_of(client, namespace, sample):
            fields.read(decode(raw, _DECODED))
            progress(1)
    except PyMongoError as error:
        problem = f"not read to its end: {failure(error)}"
    except (BSONError, RecursionError):
        problem = "not read to its end: a document is damaged"
    if fields.is_cut and not problem:
        problem = (
            "it has more paths, or values in a document, than are counted: its fields' names may be data"
        )
    return CollectionFields(namespace, fields.documents, tuple(fields.report()), problem, fields.long_texts)
