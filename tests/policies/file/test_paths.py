"""Paths are followed through arrays, to the covered node or to none, and never into an encrypted value."""

import pytest

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode, bounded, follow, is_below_scalars, is_transparent
from tests.policies.support import POLICY

ROOT = POLICY.collections["clinic.patients"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        *((part, True) for part in (b"0", b"17", b"$", b"$[]", b"$[x]", b"$id")),
        *((part, False) for part in (b"", b"-1", b"1a", b"a1", b"a$", "\N{ARABIC-INDIC DIGIT ONE}".encode())),
    ],
)
def test_indexes_and_positions_stand_for_array_elements(part: bytes, expected: bool) -> None:
    assert is_transparent(part) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(
            (path, "nhs_number")
            for path in ("nhs_number", "nhs_number.0", "nhs_number.$", "nhs_number.1.$[]")
        ),
        *((path, "address") for path in ("address", "address.0", "address.$[a]")),
        *((path, "contacts.phone") for path in ("contacts.phone", "contacts.0.phone", "contacts.$.phone.3")),
        *((path, "notes") for path in ("notes",)),
        *((path, "deep.a") for path in ("deep.a", "deep.0.a", "deep.a.5", "deep.$[].a.$[x]")),
        *(
            (path, None)
            for path in ("name", "", ".", "nhs", "address.city", "contacts.0.kind", "a.nhs_number")
        ),
        *((path, None) for path in ("address..postcode", ".nhs_number", "address.", "Nhs_number")),
    ],
)
def test_a_path_leads_to_what_it_covers(path: str, expected: str | None) -> None:
    found = follow(ROOT, path.encode())
    assert (found.path if found else None) == expected


@pytest.mark.parametrize(
    "path", ["nhs_number.x", "notes.x", "notes.0", "notes.$", "nhs_number.0.x", "nhs_number."]
)
def test_no_path_leads_into_an_encrypted_value(path: str) -> None:
    with pytest.raises(Refusal) as caught:
        follow(ROOT, path.encode())
    assert caught.value.reason is Reason.BELOW_ENCRYPTED
    assert caught.value.path == path.split(".", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(
            (path, True)
            for path in ("nhs_number.x", "nhs_number.0.x", "address.postcode.x.y", "contacts.0.phone.x")
        ),
        *((path, True) for path in ("tags.$.x", "contacts.phone.0.x", "deep.a.b.c")),
        *((path, False) for path in ("nhs_number", "nhs_number.0", "tags.$[]", "notes.x", "contacts.note.x")),
        *(
            (path, False)
            for path in ("name", "name.x", "address.city", "address.city.postcode", "deep.a", "deep.x.b.c")
        ),
    ],
)
def test_a_path_leads_below_scalars_of_a_deterministic_class(path: str, expected: bool) -> None:
    assert is_below_scalars(ROOT, path.encode()) is expected


def test_anything_below_an_opaque_node_is_opaque() -> None:
    opaque = PathNode("", {b"x": PathNode("x", opaque=True)})
    found = follow(opaque, b"x.y.z")
    assert found is not None
    assert found.opaque
    assert follow(NOTHING, b"x") is None


def test_a_tree_past_the_bounds_is_refused() -> None:
    deep = PathNode("", opaque=True)
    for _ in range(100):
        deep = bounded(PathNode("", {b"d": deep}))
    with pytest.raises(Refusal):
        bounded(PathNode("", {b"d": deep}))
    leaf = PathNode("", opaque=True)
    largest = PathNode("", {b"%d" % number: leaf for number in range(19_999)})
    assert bounded(largest) is largest
    with pytest.raises(Refusal):
        bounded(PathNode("", {**largest.children, b"one more": leaf}))
    wide = PathNode("", opaque=True)
    for _ in range(13):
        wide = bounded(PathNode("", {b"a": wide, b"b": wide}))
    with pytest.raises(Refusal):
        bounded(PathNode("", {b"a": wide, b"b": wide}))
