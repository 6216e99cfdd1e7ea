"""Reads collections of a server for what lies in their fields."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import decode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.errors import PyMongoError

from sealwire.policies.file.schema import SERVER_DATABASES, PolicySet, belongs_to_server
from sealwire.sidecars.coverage.fields import FieldCounts, FieldReport
from sealwire.sidecars.direct import RAW, Client, documents_of, failure

RIGHTS = "log in as a user that may list collections and read them (read)"
"""The hint where the server denies something."""
# a date that no datetime holds stays a number of milliseconds
_DECODED: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


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
