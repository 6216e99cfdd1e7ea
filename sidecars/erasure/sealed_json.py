"""A JSON file that only a holder of the key of pseudonyms can write: holds, and how far an erasure is."""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys import strict_json
from sealwire.keys.private_file import read_private
from sealwire.sidecars.erasure.errors import ErasureDamaged, ErasureReason

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

    Raises KeysError as `read_private` and `strict_json.parse`; ErasureDamaged where somebody else wrote it.
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
        raise ErasureDamaged(ErasureReason.DAMAGED, text, hint)
    return fields
