"""What makes an erasure that was killed go on: what it is to do, noted before it changes anything.

It is a file beside the receipt, sealed with the key of pseudonyms, and holds no value and no `_id`: the
documents are found again, for what leads to a document is erased after it.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys import strict_json
from sealwire.keys.private_file import read_private, replace_private
from sealwire.keys.strict_json import Fields, encode
from sealwire.sidecars.errors import ErasureReason, Unsound, Unusable

FORMAT: Final = "sealwire-erasure-journal"
_MOST: Final = 2**53
_MAX_ROWS: Final = 1_000_000


# A JSON file that only a holder of the key of pseudonyms can write: holds, and how far an erasure is.

_MAX_BYTES: Final = 16 << 20
_SEAL: Final = "seal"
_SEAL_BYTES: Final = 32


def sealed(key: PseudonymKey, form: str, content: Mapping[str, Any]) -> bytes:
    """The bytes of a file of this form. Cost: O(content)."""
    plain = {"format": form, "version": 1, **content}
    seal = key.seal(form, strict_json.serialize(plain))
    return strict_json.serialize({**plain, _SEAL: strict_json.encode(seal)})


def read_sealed(path: Path, key: PseudonymKey, form: str) -> strict_json.Fields:
    """What such a file holds, without its seal. An older copy of it is genuine too.

    Raises KeysError as `read_private` and `strict_json.parse`; Unsound where somebody else wrote it.
    """
    raw = read_private(path, _MAX_BYTES)
    fields = strict_json.parse(raw, str(path))
    fields.format(form, 1)
    seal = fields.binary(_SEAL, _SEAL_BYTES, _SEAL_BYTES)
    # the seal is the last field of what was serialised, so what stands before it is what it was made of
    content = raw.rpartition(b',\n "' + _SEAL.encode() + b'"')[0] + b"\n}\n"
    if not hmac.compare_digest(seal, key.seal(form, content)):
        text = f"{path} was not written with this key of pseudonyms, or was changed"
        hint = "give the key that it was made with, or restore the file from a backup"
        raise Unsound(ErasureReason.DAMAGED, text, hint)
    return fields


@dataclass(frozen=True, slots=True)
class ErasureOrder:
    """What is to be done to whom; whoever goes on has to say the same."""

    subject: str
    """A pseudonym."""
    way: str
    """As `changing.ErasureWay`, or empty: documents stay as they are."""
    shreds: bool
    policy: str
    """SHA-256 of the policy file, in hex."""


@dataclass(frozen=True, slots=True)
class ErasureNote:
    """What an erasure has found."""

    order: ErasureOrder
    begun: str
    found: Mapping[str, int] = field(default_factory=dict)
    """Documents, by collection."""
    meant: Mapping[str, int] = field(default_factory=dict)
    """Those of them that are to be changed."""
    keys: Mapping[bytes, str] = field(default_factory=dict)
    """Ids of keys that are to be destroyed, with their classes."""
    shared: Mapping[str, int] = field(default_factory=dict)
    """Those that are to be changed and stay, because they are also another person's."""
    undecided: int = 0
    """Covered values of such documents that stay, for nobody can tell whose they are."""

    def with_more(
        self,
        found: Mapping[str, int],
        meant: Mapping[str, int],
        shared: Mapping[str, int],
        undecided: int = 0,
    ) -> "ErasureNote":
        """The same, where a later look has found more than was known."""
        return replace(
            self,
            found=_most(self.found, found),
            meant=_most(self.meant, meant),
            shared=_most(self.shared, shared),
            undecided=max(self.undecided, undecided),
        )


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}


@dataclass(frozen=True, slots=True)
class ErasureJournal:
    """The file."""

    path: Path
    key: PseudonymKey

    def load(self, order: ErasureOrder) -> ErasureNote | None:
        """What was noted; None where nothing was. Raises Unusable OTHER_ERASURE; as `read_sealed`."""
        if not self.path.exists():
            return None
        fields = read_sealed(self.path, self.key, FORMAT)
        noted = ErasureOrder(
            fields.text("subject"), fields.text("way"), fields.flag("shreds"), fields.text("policy")
        )
        begun = fields.text("begun")
        rows = [Fields(row, str(self.path)) for row in fields.sequence("collections", _MAX_ROWS)]
        found = {row.text("namespace"): row for row in rows}
        keys = [Fields(row, str(self.path)) for row in fields.sequence("keys", _MAX_ROWS)]
        undecided = fields.integer("undecided", 0, _MOST) if fields.has("undecided") else 0
        fields.done()
        if noted != order:
            raise Unusable(
                ErasureReason.OTHER_ERASURE,
                f"{self.path} is of an erasure that was not ended: another person, way or policy",
                "end that one first, with the same options, or give this one another --receipt",
            )
        return ErasureNote(
            noted,
            begun,
            {name: row.integer("found", 0, _MOST) for name, row in found.items()},
            {name: row.integer("meant", 0, _MOST) for name, row in found.items()},
            {row.binary("key_id", 16, 16): row.text("class") for row in keys},
            {name: row.integer("shared", 0, _MOST) for name, row in found.items() if row.has("shared")},
            undecided,
        )

    def save(self, note: ErasureNote) -> None:
        """Raises KeySettingError FILE_UNWRITABLE."""
        order = note.order
        content: dict[str, Any] = {"subject": order.subject, "way": order.way}
        if order.shreds:
            content["shreds"] = True
        content |= {
            "policy": order.policy,
            "begun": note.begun,
            "collections": [
                {"namespace": name, "found": count, "meant": note.meant.get(name, 0)}
                | ({"shared": note.shared[name]} if name in note.shared else {})
                for name, count in note.found.items()
            ],
            "undecided": note.undecided,
            "keys": [{"class": name, "key_id": encode(key_id)} for key_id, name in note.keys.items()],
        }
        replace_private(self.path, sealed(self.key, FORMAT, content))

    def remove(self) -> None:
        """Nothing is left to be done."""
        self.path.unlink(missing_ok=True)
