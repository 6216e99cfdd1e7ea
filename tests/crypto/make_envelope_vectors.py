"""Prints vectors/envelope-1.json: `python -m tests.crypto.make_envelope_vectors`.

Knows the format from docs/format/envelope.md and AES-SIV from `reference_siv`; uses nothing of the product.
The file is frozen: this program stays only to show where the numbers come from.
"""

import json
import struct
import sys
from collections.abc import Iterator
from hashlib import sha512

from tests.crypto import reference_siv

DETERMINISTIC, RANDOM = 1, 2
SEVERAL_BLOCKS = bytes(range(100))

KEYS = {
    (0x01020304, 1): sha512(b"envelope vector key A version 1").digest(),
    (0x01020304, 2): sha512(b"envelope vector key A version 2").digest(),
    (0x7FFFFFFF, 0xFFFFFFFF): sha512(b"envelope vector key B version 4294967295").digest(),
}
A1, A2, B = KEYS

NONCE = bytes.fromhex("00112233445566778899aabbccddeeff")
TWO_BLOCKS = struct.pack("<i", 28) + b"twenty-seven bytes of text.\0"
NHS_NUMBER = struct.pack("<i", 11) + b"9434765919\0"

# One value of every encryptable type, as BSON holds it.
VALUES = {
    "double": (0x01, struct.pack("<d", 36.6)),
    "string": (0x02, NHS_NUMBER),
    "empty string": (0x02, b"\x01\0\0\0\0"),
    "string of 1 KiB": (0x02, struct.pack("<i", 1025) + b"n" * 1024 + b"\0"),
    "document": (0x03, bytes.fromhex("0c0000001061000100000000")),
    "empty document": (0x03, bytes.fromhex("0500000000")),
    "array": (0x04, bytes.fromhex("0c0000001030000100000000")),
    "binary": (0x05, bytes.fromhex("0400000000deadbeef")),
    "object id": (0x07, bytes.fromhex("0102030405060708090a0b0c")),
    "false": (0x08, b"\0"),
    "true": (0x08, b"\1"),
    "date": (0x09, struct.pack("<q", -86_400_000)),
    "regular expression": (0x0B, b"^a\0i\0"),
    "database pointer": (0x0C, bytes.fromhex("0200000061000102030405060708090a0b0c")),
    "javascript": (0x0D, bytes.fromhex("020000006a00")),
    "symbol": (0x0E, bytes.fromhex("020000007300")),
    "javascript with scope": (0x0F, bytes.fromhex("0f000000020000006a000500000000")),
    "int": (0x10, struct.pack("<i", 5)),
    "timestamp": (0x11, bytes.fromhex("0100000002000000")),
    "long": (0x12, struct.pack("<q", 5)),
    "decimal": (0x13, bytes.fromhex("05000000000000000000000000004030")),
}


def header(key: tuple[int, int], mode: int, bson_type: int) -> bytes:
    return b"SW" + bytes((1, mode)) + struct.pack(">II", *key) + bytes((bson_type,))


def envelope(key: tuple[int, int], mode: int, bson_type: int, value: bytes) -> bytes:
    head = header(key, mode, bson_type)
    if mode == RANDOM:
        return head + NONCE + reference_siv.encrypt(KEYS[key], value, [head, NONCE])
    return head + reference_siv.encrypt(KEYS[key], value, [head])


def good() -> Iterator[dict[str, object]]:
    for mode, mode_name in ((DETERMINISTIC, "deterministic"), (RANDOM, "random")):
        for name, (bson_type, value) in VALUES.items():
            yield ok(f"{name}, {mode_name}", A1, mode, bson_type, value)
    for mode, mode_name in ((DETERMINISTIC, "deterministic"), (RANDOM, "random")):
        yield ok(f"second key version, {mode_name}", A2, mode, 0x02, NHS_NUMBER)
        yield ok(f"largest key version, {mode_name}", B, mode, 0x02, NHS_NUMBER)


def ok(comment: str, key: tuple[int, int], mode: int, bson_type: int, value: bytes) -> dict[str, object]:
    return {
        "comment": comment,
        "expect": "ok",
        "mode": mode,
        "class_id": key[0],
        "key_version": key[1],
        "bson_type": bson_type,
        "value": value.hex(),
        "envelope": envelope(key, mode, bson_type, value).hex(),
    }


def bad() -> Iterator[dict[str, object]]:
    yield from invalid()
    yield from moved()
    yield from altered()


def invalid() -> Iterator[dict[str, object]]:
    fixed = envelope(A1, DETERMINISTIC, 0x02, NHS_NUMBER)
    random = envelope(A1, RANDOM, 0x02, NHS_NUMBER)
    for region, at, byte in (
        ("magic, first byte", 0, 0x73),
        ("magic, second byte", 1, 0x77),
        ("format 0", 2, 0),
        ("format 2", 2, 2),
        ("format 255", 2, 255),
        ("mode 0", 3, 0),
        ("mode 3", 3, 3),
        ("type undefined", 12, 0x06),
        ("type null", 12, 0x0A),
        ("type 0", 12, 0x00),
        ("type 0x14", 12, 0x14),
        ("type MaxKey", 12, 0x7F),
        ("type MinKey", 12, 0xFF),
    ):
        yield fails(region, "invalid-envelope", replaced(fixed, at, bytes((byte,))))
    yield fails("class id 0", "invalid-envelope", replaced(fixed, 4, bytes(4)))
    yield fails("key version 0", "invalid-envelope", replaced(fixed, 8, bytes(4)))
    for length in (0, 1, 2, 12, 13, 28, 29):
        yield fails(f"deterministic, cut to {length} bytes", "invalid-envelope", fixed[:length])
    for length in (13, 29, 44, 45):
        yield fails(f"random, cut to {length} bytes", "invalid-envelope", random[:length])


def moved() -> Iterator[dict[str, object]]:
    # Long enough that it would be a whole envelope in either mode.
    fixed = envelope(A1, DETERMINISTIC, 0x02, TWO_BLOCKS)
    random = envelope(A1, RANDOM, 0x02, TWO_BLOCKS)
    for name, whole in (("deterministic", fixed), ("random", random)):
        other_class = replaced(whole, 4, struct.pack(">II", *B))
        yield fails(f"{name}, moved to another class", "decryption-failed", other_class)
        other_version = replaced(whole, 8, struct.pack(">I", 2))
        yield fails(f"{name}, moved to another version", "decryption-failed", other_version)
        yield fails(f"{name}, said to be a symbol", "decryption-failed", replaced(whole, 12, b"\x0e"))
        other_mode = replaced(whole, 3, bytes((RANDOM if whole is fixed else DETERMINISTIC,)))
        yield fails(f"{name}, said to be the other mode", "decryption-failed", other_mode)
        for change, at, part in (
            ("class id not in the keyring", 4, b"\x05\x06\x07\x08"),
            ("version not in the keyring", 8, struct.pack(">I", 3)),
            ("little-endian class id", 4, struct.pack("<I", A1[0])),
            ("little-endian version", 8, struct.pack("<I", 1)),
        ):
            yield fails(f"{name}, {change}", "unknown-key", replaced(whole, at, part))


def altered() -> Iterator[dict[str, object]]:
    long = envelope(A1, DETERMINISTIC, 0x05, SEVERAL_BLOCKS)
    random = envelope(A1, RANDOM, 0x05, SEVERAL_BLOCKS)
    regions = {
        "SIV, first byte": (long, 13),
        "SIV, bit that CTR ignores (63)": (long, 21),
        "SIV, bit that CTR ignores (31)": (long, 25),
        "SIV, last byte": (long, 28),
        "ciphertext, first byte": (long, 29),
        "ciphertext, middle": (long, 80),
        "ciphertext, last byte": (long, len(long) - 1),
        "nonce, first byte": (random, 13),
        "nonce, last byte": (random, 28),
        "random SIV, first byte": (random, 29),
        "random ciphertext, last byte": (random, len(random) - 1),
    }
    for region, (whole, at) in regions.items():
        flipped = replaced(whole, at, bytes((whole[at] ^ 0x80,)))
        yield fails(f"one bit in {region}", "decryption-failed", flipped)
    yield fails("one byte less", "decryption-failed", long[:-1])
    yield fails("one byte more", "decryption-failed", long + b"\0")
    head, nonce = random[:13], random[13:29]
    joined = head + nonce + reference_siv.encrypt(KEYS[A1], SEVERAL_BLOCKS, [head + nonce])
    yield fails("header and nonce joined to one part of associated data", "decryption-failed", joined)
    swapped = head + nonce + reference_siv.encrypt(KEYS[A1], SEVERAL_BLOCKS, [nonce, head])
    yield fails("nonce before the header in the associated data", "decryption-failed", swapped)
    bare = long[:13] + reference_siv.encrypt(KEYS[A1], SEVERAL_BLOCKS, [])
    yield fails("no associated data", "decryption-failed", bare)


def replaced(whole: bytes, at: int, part: bytes) -> bytes:
    return whole[:at] + part + whole[at + len(part) :]


def fails(comment: str, expect: str, whole: bytes) -> dict[str, object]:
    return {"comment": comment, "expect": expect, "envelope": whole.hex()}


def document() -> str:
    vectors = [{"id": number, **vector} for number, vector in enumerate([*good(), *bad()], start=1)]
    keys = [
        {"class_id": class_id, "key_version": key_version, "key": key.hex()}
        for (class_id, key_version), key in KEYS.items()
    ]
    whole = {"format": 1, "nonce": NONCE.hex(), "keys": keys, "vectors": vectors}
    return json.dumps(whole, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
