"""Prints vectors/envelope-2.json: `python -m tests.crypto.make_context_vectors`.

Knows format 2 from docs/format/envelope.md and AES-SIV from `reference_siv`; uses nothing of the product.
The file is frozen: this program stays only to show where the numbers come from.
"""

import json
import struct
import sys
from collections.abc import Iterator
from hashlib import sha512

from tests.crypto import reference_siv
from tests.crypto.make_envelope_vectors import DETERMINISTIC, NHS_NUMBER, NONCE, RANDOM, VALUES

CLASS_ID = 0x01020304
KEY = sha512(b"envelope vector context key").digest()
KEY_ID = bytes.fromhex("000102030405060708090a0b0c0d0e0f")
OTHER_ID = bytes.fromhex("ff0102030405060708090a0b0c0d0e0f")
MODES = ((DETERMINISTIC, "deterministic"), (RANDOM, "random"))


def envelope(mode: int, bson_type: int, value: bytes, key_id: bytes = KEY_ID) -> bytes:
    head = b"SW" + bytes((2, mode)) + struct.pack(">II", CLASS_ID, 1) + bytes((bson_type,)) + key_id
    if mode == RANDOM:
        return head + NONCE + reference_siv.encrypt(KEY, value, [head, NONCE])
    return head + reference_siv.encrypt(KEY, value, [head])


def good() -> Iterator[dict[str, object]]:
    for mode, name in MODES:
        for comment, (bson_type, value) in VALUES.items():
            yield {
                "comment": f"{comment}, {name}",
                "expect": "ok",
                "mode": mode,
                "bson_type": bson_type,
                "value": value.hex(),
                "envelope": envelope(mode, bson_type, value).hex(),
            }


def bad() -> Iterator[dict[str, object]]:
    for mode, name in MODES:
        whole, other = (envelope(mode, 0x02, NHS_NUMBER, key_id) for key_id in (KEY_ID, OTHER_ID))
        altered = {
            "another key id": (whole[:13] + OTHER_ID + whole[29:], "unknown-key"),
            "made for another key id": (other, "unknown-key"),
            "its id put in place": (_renamed(other), "decryption-failed"),
            "another class": (whole[:7] + b"\x05" + whole[8:], "decryption-failed"),
            "another type": (whole[:12] + b"\x10" + whole[13:], "decryption-failed"),
            "another version": (whole[:11] + b"\x02" + whole[12:], "decryption-failed"),
            "the last byte": (whole[:-1] + bytes((whole[-1] ^ 1,)), "decryption-failed"),
            "no ciphertext": (whole[: 45 if mode == DETERMINISTIC else 61], "invalid-envelope"),
            "format 3": (whole[:2] + b"\x03" + whole[3:], "invalid-envelope"),
            "mode 3": (whole[:3] + b"\x03" + whole[4:], "invalid-envelope"),
            "class 0": (whole[:4] + bytes(4) + whole[8:], "invalid-envelope"),
        }
        for comment, (data, expect) in altered.items():
            yield {"comment": f"{comment}, {name}", "expect": expect, "envelope": data.hex()}


def _renamed(data: bytes) -> bytes:
    return data[:13] + KEY_ID + data[29:]


def document() -> str:
    vectors = [{"id": number, **vector} for number, vector in enumerate((*good(), *bad()), 1)]
    key = {"class_id": CLASS_ID, "key_id": KEY_ID.hex(), "key": KEY.hex()}
    return json.dumps({"key": key, "nonce": NONCE.hex(), "vectors": vectors}, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
