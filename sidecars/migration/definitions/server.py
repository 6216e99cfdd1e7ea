"""Definitions of a server: read from it, and put in each other's place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Protocol, cast

import bson
from bson.binary import Binary
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys.errors import KeysError
from sealwire.keys.frontier.record import DATABASE
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import Client, indexes_of
from sealwire.sidecars.errors import MigrationReason, Unavailable

_DECODED: Final = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO)
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
        """Put a validator or view in its own place, or make an index. Raises Unavailable without effect."""

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
        return [
            Definition(DefinitionKind.INDEX, namespace, str(each["name"]), dict(each))
            for each in indexes_of(self._client, namespace, _DECODED)
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
            raise Unavailable(
                MigrationReason.UNANSWERED, text, "change it by hand; then sealwire migrate resume POLICY JOB"
            )

    def drop_index(self, namespace: str, name: str) -> None:
        """As `Definitions.drop_index`. Raises what the driver raises."""
        database, _, collection = namespace.partition(".")
        command = {"dropIndexes": collection, "index": name}
        self._client.get_database(database).command(command, codec_options=_DECODED)


# ------------------------------------------------- the forms of each converted definition, kept on the server
#
#     {_id: kind, namespace and name, class: class id, version, sealed: the forms}
#
# A form may hold constants in clear, which are not to lie there once the values are encrypted. So they are
# sealed under a key of the keyring. Without the key a record counts as none, and what stands is converted.

COLLECTION: Final = "definitions"

_DOMAIN: Final = b"sealwire definition"


@dataclass(frozen=True, slots=True)
class KeptForms:
    """A definition before the move, while it goes on, and after it."""

    moves: tuple[tuple[str, str], ...]
    """Namespaces and paths of the move, sorted."""
    was_clear: bool
    is_clear: bool
    before: Mapping[str, Any] = field(repr=False)
    wide: Mapping[str, Any] = field(repr=False)
    after: Mapping[str, Any] = field(repr=False)

    def turned(self) -> "KeptForms":
        """Those of the way back."""
        return replace(
            self, was_clear=self.is_clear, is_clear=self.was_clear, before=self.after, after=self.before
        )


class Records(Protocol):
    """Where forms are kept."""

    def load(self, name: str) -> KeptForms | None:
        """Those of a definition; None where there are none that open."""

    def save(self, name: str, forms: KeptForms) -> None:
        """Keep them instead of what there was."""

    def names(self) -> list[str]:
        """All definitions that have some."""


class MongoRecords:
    """Those of one server, under one keyring."""

    def __init__(self, client: Client, keyring: Keyring, cipher: ValueCipher) -> None:
        """`cipher` seals new ones."""
        found = client.get_database(DATABASE).get_collection(
            COLLECTION, codec_options=_DECODED, write_concern=WriteConcern("majority")
        )
        self._records = cast(Collection[dict[str, Any]], found)
        self._keyring = keyring
        self._cipher = cipher

    def load(self, name: str) -> KeptForms | None:
        """As `Records.load`. Raises what the driver raises."""
        found = self._records.find_one({"_id": name})
        return None if found is None else opened(found, self._keyring)

    def save(self, name: str, forms: KeptForms) -> None:
        """As `Records.save`. Raises what the driver raises."""
        self._records.replace_one({"_id": name}, sealed(name, forms, self._cipher), upsert=True)

    def names(self) -> list[str]:
        """As `Records.names`. Raises what the driver raises."""
        return [str(each["_id"]) for each in self._records.find({}, {"_id": 1})]


class MemoryRecords:
    """Those of what only looks, or tries: nothing outlasts the process."""

    def __init__(self) -> None:
        self._kept: dict[str, KeptForms] = {}

    def load(self, name: str) -> KeptForms | None:
        return self._kept.get(name)

    def save(self, name: str, forms: KeptForms) -> None:
        self._kept[name] = forms

    def names(self) -> list[str]:
        return list(self._kept)


def sealed(name: str, forms: KeptForms, cipher: ValueCipher) -> dict[str, Any]:
    """The document in which they are kept. Cost: O(bytes)."""
    inside = bson.encode(
        {
            "moves": [list(each) for each in forms.moves],
            "clear": [forms.was_clear, forms.is_clear],
            "forms": [forms.before, forms.wide, forms.after],
        }
    )
    data = Binary(cipher.seal(_DOMAIN, name.encode(), inside))
    return {"_id": name, "class": cipher.class_id, "version": cipher.key_version, "sealed": data}


def opened(found: Mapping[str, Any], keyring: Keyring) -> KeptForms | None:
    """What such a document holds; None where no key opens it, or somebody else wrote it."""
    try:
        cipher = keyring.cipher_by_id(found["class"], found["version"])
        inside = cipher.unseal(_DOMAIN, str(found["_id"]).encode(), bytes(found["sealed"]))
        read = bson.decode(inside, _DECODED)
        moves = tuple((namespace, path) for namespace, path in read["moves"])
        (was_clear, is_clear), (before, wide, after) = read["clear"], read["forms"]
    except (KeysError, DecryptionFailed, BSONError, KeyError, ValueError, TypeError):
        return None
    return KeptForms(moves, was_clear, is_clear, before, wide, after)
