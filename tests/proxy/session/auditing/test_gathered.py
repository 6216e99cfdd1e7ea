"""What documents that are put together show of others is counted from their envelopes, without a key."""

import bson
import pytest

from sealwire.crypto.envelope import MARKER
from sealwire.proxy.session.auditing.gathered import MAX_DISTINCT, Gathered
from tests.proxy.session.world import sealed, sealed_randomly

NHS = sealed("nhs", "1")
CLASS_ID = int.from_bytes(NHS[4:8], "big")
NAMES = {CLASS_ID: "nhs"}


def test_only_what_was_opened_counts_and_no_more_of_it() -> None:
    found = Gathered(NAMES)
    found.look(
        bson.encode({"a": NHS, "b": [sealed("nhs", "2"), {"c": NHS}], "d": sealed_randomly("secret", "n")}), 0
    )
    assert found.opened({"nhs": 9, "secret": 1}) == {"nhs": 2}
    assert found.opened({"nhs": 1}) == {"nhs": 1}
    assert found.opened({}) == {}
    assert found.elements == 2


def test_so_many_values_are_told_apart_and_no_more() -> None:
    found, many = Gathered(NAMES), MAX_DISTINCT + 5
    unlike = [bson.Binary(NHS[:-4] + each.to_bytes(4, "big"), MARKER[0]) for each in range(many)]
    found.look(bson.encode({"all": unlike}), 0)
    assert found.opened({"nhs": many}) == {"nhs": MAX_DISTINCT}


def test_of_classes_that_nobody_knows_nothing_is_kept() -> None:
    found = Gathered(NAMES)
    other = NHS[:4] + (CLASS_ID ^ 1).to_bytes(4, "big") + NHS[8:]
    found.look(bson.encode({"a": bson.Binary(other, MARKER[0])}), 0)
    assert found.opened({"nhs": 1, "": 1}) == {}


@pytest.mark.parametrize(
    ("depth", "document", "elements"),
    [(0, {"0": 1, "1": 2}, 0), (1, {"0": 1, "1": [5]}, 3), (1, {"name": 1, "x": [5]}, 1), (1, {}, 0)],
    ids=["fields", "array", "document", "empty"],
)
def test_parts_of_a_long_document_count_as_what_they_lie_in(
    depth: int, document: dict[str, object], elements: int
) -> None:
    found = Gathered(NAMES)
    found.run(bson.encode(document), depth)
    assert found.elements == elements


def test_what_is_malformed_or_deep_counts_as_far_as_it_goes() -> None:
    found = Gathered(NAMES)
    document = bson.encode({"a": [1], "b": bson.Binary(MARKER[1:] + b"short", MARKER[0])})
    found.look(document, 0)
    found.look(document.replace(b"\x030\0", b"\x990\0").replace(b"\x04a\0", b"\x99a\0"), 0)
    found.run(b"\x0c\0\0\0\x990\0\0\0\0\0\0", 1)
    raw = b"\x05\0\0\0\0"
    for _ in range(300):
        raw = (len(raw) + 8).to_bytes(4, "little") + b"\x040\0" + raw + b"\0"
    found.look(raw, 0)
    assert found.opened({"nhs": 1}) == {}
    assert 2 <= found.elements < 300
