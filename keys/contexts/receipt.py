"""The receipt of a shredded key: what was destroyed, when and by whom, and what a look afterwards found.

It holds no context, only its tag. A tag over all of it, made with the key of the class's own row, shows that
a holder of the keyring wrote it; whoever has keyring and store can check it.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sealwire.keys import strict_json
from sealwire.keys.contexts.row import TAG_BYTES, ContextRow
from sealwire.keys.contexts.wrapping import receipt_tag
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring.record import format_time

FORMAT_NAME = "sealwire-shred-receipt"
FORMAT_VERSION = 1
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Receipt:
    """One destroyed key."""

    class_name: str
    class_id: int
    key_id: bytes
    context_tag: bytes
    created: str
    destroyed: str
    by: str
    """User and machine, as the operating system names them."""
    store: str
    key_in_row: bool
    """Whether the row, read anew, still had a wrapped key."""
    key_in_files: str
    """Whether the store's files still had its bytes: `no`, `yes`, or `unknown` where nobody can look."""

    def serialize(self, tag_key: bytes) -> bytes:
        """The receipt as JSON, with its tag."""
        return strict_json.serialize({**self._fields(), "tag": strict_json.encode(self._tag(tag_key))})

    def _fields(self) -> dict[str, Any]:
        return {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "class": self.class_name,
            "class_id": self.class_id,
            "key_id": strict_json.encode(self.key_id),
            "context_tag": strict_json.encode(self.context_tag),
            "created": self.created,
            "destroyed": self.destroyed,
            "by": self.by,
            "store": self.store,
            "key_in_row": "yes" if self.key_in_row else "no",
            "key_in_files": self.key_in_files,
        }

    def is_genuine(self, tag: bytes, tag_key: bytes) -> bool:
        """Whether a holder of the class's key wrote exactly this."""
        return hmac.compare_digest(self._tag(tag_key), tag)

    def _tag(self, tag_key: bytes) -> bytes:
        return receipt_tag(tag_key, strict_json.serialize(self._fields()))


def receipt_of(row: ContextRow, class_name: str, by: str, store: str, found: Mapping[str, Any]) -> Receipt:
    """The receipt of a row that was destroyed. `found`: `key_in_row` and `key_in_files`."""
    return Receipt(
        class_name,
        row.class_id,
        row.key_id,
        row.tag or b"",
        format_time(row.created),
        _time(row.destroyed),
        by,
        store,
        bool(found["key_in_row"]),
        str(found["key_in_files"]),
    )


def parse_receipt(raw: bytes, filename: str) -> tuple[Receipt, bytes]:
    """A receipt and the tag that it came with, not checked yet. Raises DamagedFile."""
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    receipt = Receipt(
        fields.text("class"),
        fields.integer("class_id", 1, 2**32 - 1),
        fields.binary("key_id", 16, 16),
        fields.binary("context_tag", TAG_BYTES, TAG_BYTES),
        fields.text("created"),
        fields.text("destroyed"),
        fields.text("by"),
        fields.text("store"),
        fields.text("key_in_row") == "yes",
        fields.text("key_in_files"),
    )
    tag = fields.binary("tag", TAG_BYTES, TAG_BYTES)
    fields.done()
    return receipt, tag


def check_receipt(receipt: Receipt, tag: bytes, tag_key: bytes, row: ContextRow | None, name: str) -> None:
    """Raises DamagedFile TAMPERED where it is not genuine, or the store says something else."""
    if not receipt.is_genuine(tag, tag_key):
        raise DamagedFile(KeysReason.TAMPERED, f"{name} is not what Sealwire wrote", "ask for the original")
    if row is None or not row.is_destroyed or _time(row.destroyed) != receipt.destroyed:
        raise DamagedFile(
            KeysReason.TAMPERED,
            "the store does not say that this key was destroyed then",
            "it may have been restored from a backup: find out when, and shred again",
        )


def _time(moment: datetime | None) -> str:
    return "" if moment is None else format_time(moment)
