"""The forms of each converted definition, kept on the server: `sealwire.definitions`, sealed.

    {_id: kind, namespace and name, class: class id, version, sealed: the forms}

A form may hold constants in clear, which are not to lie there once the values are encrypted. So they are
sealed under a key of the keyring. Without the key a record counts as none, and what stands is converted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from sealwire.sidecars.direct import Client

COLLECTION: Final = "definitions"

_DOMAIN: Final = b"sealwire definition"
_DECODED: Final = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO)


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
        """As `Records.load`."""
        return self._kept.get(name)

    def save(self, name: str, forms: KeptForms) -> None:
        """As `Records.save`."""
        self._kept[name] = forms

    def names(self) -> list[str]:
        """As `Records.names`."""
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
