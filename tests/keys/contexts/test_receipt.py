"""A receipt is taken only as it was written, by a holder of the keyring, and while the store agrees."""

from dataclasses import replace

import pytest

from sealwire.keys.contexts.receipt import check_receipt, parse_receipt, receipt_of
from sealwire.keys.errors import DamagedFile, KeysReason
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW

KEY = bytes(range(64))
GONE = replace(row(1), wrapped=None, destroyed=NOW)
TEXT = receipt_of(GONE, "notes", "a@b", "s.db", {"key_in_row": False, "key_in_files": "no"}).serialize(KEY)


def test_what_was_written_is_read_and_genuine() -> None:
    receipt, tag = parse_receipt(TEXT, "r.json")
    assert (receipt.class_name, receipt.key_id, receipt.by) == ("notes", GONE.key_id, "a@b")
    check_receipt(receipt, tag, KEY, GONE, "r.json")
    assert receipt.serialize(KEY) == TEXT


@pytest.mark.parametrize("change", ["text", "key", "missing row", "live row", "another time"])
def test_anything_else_is_refused(change: str) -> None:
    text = TEXT.replace(b"a@b", b"c@d") if change == "text" else TEXT
    receipt, tag = parse_receipt(text, "r.json")
    standing = {
        "missing row": None,
        "live row": row(1),
        "another time": replace(GONE, destroyed=NOW.replace(year=2025)),
    }.get(change, GONE)
    key = bytes(64) if change == "key" else KEY
    with pytest.raises(DamagedFile) as caught:
        check_receipt(receipt, tag, key, standing, "r.json")
    assert caught.value.reason is KeysReason.TAMPERED


@pytest.mark.parametrize("raw", [b"{}", b"nothing", TEXT.replace(b'"by"', b'"why"')])
def test_what_is_no_receipt_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_receipt(raw, "r.json")
