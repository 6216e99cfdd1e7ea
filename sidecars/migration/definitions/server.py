"""Definitions of a server: read from it, and put in each other's place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.errors import MigrationReason, ServerFailed

_DECODED: Final = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO)
_WITHOUT_NAMESPACE: Final = 26
_NOT_GIVEN: Final = frozenset({"v", "ns", "textIndexVersion", "2dsphereIndexVersion"})
"""What a server says of an index, and need not be told."""


class DefinitionKind(Enum):
    """What holds constants, types or an order beside the documents."""

    INDEX = "index"
    VALIDATOR = "validator"
    VIEW = "view"


@dataclass(frozen=True, slots=True)
class Definition:
    """One of them, as the server has it."""

    kind: DefinitionKind
    namespace: str
    """That of the collection; a view has one of its own."""
    name: str
    """What the index or view is called; a validator is `validator`."""
    content: Mapping[str, Any] = field(repr=False)
    """The index's document, the validator, or `viewOn` and `pipeline`."""

    def says_the_same(self, content: Mapping[str, Any]) -> bool:
        """Whether the server would do the same by another content of the same name."""
        return bson.encode(self._meant(self.content)) == bson.encode(self._meant(content))

    def _meant(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.kind is DefinitionKind.INDEX:
            return {"filter": content.get("partialFilterExpression") or {}}
        return content


class Definitions(Protocol):
    """What conversions need of a server."""

    def read(self, namespaces: Iterable[str]) -> list[Definition]:
        """Indexes and validators of these collections, and all views of their databases."""

    def make(self, definition: Definition) -> None:
        """Put a validator or view in its own place, or make an index. Raises ServerFailed without effect."""

    def drop_index(self, namespace: str, name: str) -> None:
        """Drop one that is there."""


class MongoDefinitions:
    """Those of a server, past Sealwire."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, namespaces: Iterable[str]) -> list[Definition]:
        """As `Definitions.read`. Raises what the driver raises. Cost: a listing a database and collection."""
        wanted = list(dict.fromkeys(namespaces))
        found: list[Definition] = []
        for database in dict.fromkeys(each.partition(".")[0] for each in wanted):
            for listed in self._client.get_database(database, _DECODED).list_collections():
                found += self._listed(f"{database}.{listed['name']}", listed, wanted)
        return found

    def _listed(self, namespace: str, listed: Mapping[str, Any], wanted: list[str]) -> list[Definition]:
        options = listed.get("options") or {}
        name = namespace.partition(".")[2]
        if listed.get("type") == "view":
            content = {"viewOn": options.get("viewOn", ""), "pipeline": options.get("pipeline") or []}
            return [Definition(DefinitionKind.VIEW, namespace, name, content)]
        if namespace not in wanted or listed.get("type", "collection") != "collection":
            return []
        found = self._indexes(namespace)
        if options.get("validator"):
            found.append(
                Definition(DefinitionKind.VALIDATOR, namespace, "validator", dict(options["validator"]))
            )
        return found

    def _indexes(self, namespace: str) -> list[Definition]:
        database, _, name = namespace.partition(".")
        try:
            listed = list(self._client.get_database(database, _DECODED).get_collection(name).list_indexes())
        except OperationFailure as error:
            if error.code == _WITHOUT_NAMESPACE:
                return []
            raise
        return [
            Definition(DefinitionKind.INDEX, namespace, str(each["name"]), dict(each))
            for each in listed
            if each["name"] != "_id_"
        ]

    def make(self, definition: Definition) -> None:
        """As `Definitions.make`. Raises what the driver raises. Cost: an index reads its collection."""
        database, _, name = definition.namespace.partition(".")
        command: dict[str, Any]
        if definition.kind is DefinitionKind.INDEX:
            spec = {key: value for key, value in definition.content.items() if key not in _NOT_GIVEN}
            command = {"createIndexes": name, "indexes": [{**spec, "name": definition.name}]}
        elif definition.kind is DefinitionKind.VALIDATOR:
            command = {"collMod": name, "validator": dict(definition.content)}
        else:
            command = {"collMod": name, **definition.content}
        self._client.get_database(database).command(command, codec_options=_DECODED)
        if not any(
            (each.kind, each.name) == (definition.kind, definition.name)
            and each.says_the_same(definition.content)
            for each in self.read([definition.namespace])
            if each.namespace == definition.namespace
        ):
            text = f"the server did not take over the {definition.kind.value} {definition.name}"
            raise ServerFailed(MigrationReason.UNANSWERED, text, "change it by hand; then migrate resume")

    def drop_index(self, namespace: str, name: str) -> None:
        """As `Definitions.drop_index`. Raises what the driver raises."""
        database, _, collection = namespace.partition(".")
        command = {"dropIndexes": collection, "index": name}
        self._client.get_database(database).command(command, codec_options=_DECODED)
