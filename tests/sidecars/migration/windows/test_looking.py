"""What a document shows before anything moves."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import bson
import pytest
from bson.binary import Binary

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.errors import DamagedFile
from sealwire.policies.file.ranges import RangeDomain, Unit
from sealwire.policies.file.schema import PathNode, ValueType
from sealwire.sidecars.migration.contexts import ValueSpot
from sealwire.sidecars.migration.forms import Form, Left, WrongType
from sealwire.sidecars.migration.job import LeftValue, Standing
from sealwire.sidecars.migration.server import Problem
from sealwire.sidecars.migration.windows import looking
from sealwire.sidecars.migration.windows.looking import FirstLook, Seen
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.order import ClassPaths
from sealwire.sidecars.migration.windows.server import walked_fields
from tests.sidecars.migration.doubles import Death
from tests.sidecars.migration.windows.doubles import (
    CLASS_ID,
    DECRYPTING,
    ENCRYPTING,
    NEW,
    PATIENTS,
    PLACES,
    VERSIONS,
    VISITS,
    opened,
    sealed,
)
from tests.sidecars.migration.windows.world import World, clinic, texts

CONTEXT = Binary(
    ContextCipher(bytes(64), CLASS_ID, bytes(16)).encrypt_deterministically(2, b"\2\0\0\0a\0"), SUBTYPE
)
"""The envelope of a value under the key of a context."""


def seen(versions: Versions, document: Any) -> Seen:
    raw = document if isinstance(document, bytes) else bson.encode(document)
    return FirstLook(versions).at(raw, PLACES[0])


@pytest.mark.parametrize(
    ("versions", "old", "new"),
    [
        (VERSIONS, sealed("a"), sealed("b", NEW)),
        (ENCRYPTING, "a", sealed("b", NEW)),
        (DECRYPTING, sealed("a"), "b"),
    ],
    ids=["reencrypt", "encrypt", "decrypt"],
)
def test_forms_are_told_apart(versions: Versions, old: Any, new: Any) -> None:
    clear = (Problem("kin.nhs", Left.IN_CLEAR),) if versions is DECRYPTING else ()
    assert seen(versions, {"_id": 1, "nhs": old, "kin": {"nhs": new}}) == Seen(True, True, clear)
    assert seen(versions, {"_id": 1, "nhs": old}) == Seen(True, False)
    assert seen(versions, {"_id": 1, "kin": [{"nhs": new}]}) == Seen(False, True, clear)
    assert seen(versions, {"_id": 1, "nhs": None, "o": old}) == Seen()


def test_only_values_in_clear_can_be_of_a_wrong_type() -> None:
    wrong = {"_id": 1, "nhs": 5}
    assert seen(ENCRYPTING, wrong).problems == (Problem("nhs", Left.WRONG_TYPE),)
    assert seen(VERSIONS, wrong) == seen(DECRYPTING, wrong) == Seen()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (5, ()),
        (9, (Left.WRONG_TYPE,)),
        (-1, (Left.WRONG_TYPE,)),
        ([5], (Left.NOT_ADDRESSABLE,)),
        ("5", (Left.WRONG_TYPE,)),
    ],
    ids=str,
)
def test_what_a_range_would_not_find_as_ciphertext_is_a_problem(value: Any, why: tuple[Left, ...]) -> None:
    domain = RangeDomain(Unit.ONE, 0, 8, 9)
    versions = ENCRYPTING._replace(value_type=ValueType.INT, domain=domain)
    assert tuple(each.why for each in seen(versions, {"_id": 1, "nhs": value}).problems) == why


@pytest.mark.parametrize("versions", [VERSIONS, ENCRYPTING], ids=["reencrypt", "encrypt"])
def test_what_no_update_or_search_reaches_is_a_problem(versions: Versions) -> None:
    old = "a" if versions.old.is_plaintext else sealed("a")
    twice = bson.encode({"_id": 1, "nhs": old, "xhs": old}).replace(b"xhs", b"nhs")
    for document in (twice, {"_id": 1, "nhs": [[old]]}, {"_id": 1, "kin": {"7": {"nhs": old}}}):
        assert [each.why for each in seen(versions, document).problems] == [Left.NOT_ADDRESSABLE]


def test_a_document_that_would_grow_too_large_is_a_problem() -> None:
    # old and new value stand in one update
    document = {"_id": 1, "nhs": "b" * (9 << 20)}
    assert seen(ENCRYPTING, document).problems == (Problem("nhs", Left.TOO_LARGE),)
    assert seen(ENCRYPTING, {"_id": 1, "nhs": "a" * (300 << 10)}).problems == ()


class _Within:
    """Opens nothing, or everything."""

    def __init__(self, opened: Form | Left) -> None:
        self._opened = opened

    def cipher_at(self, _spot: ValueSpot) -> Left:
        return Left.NO_CONTEXT

    def opened(self, _value: bytes) -> Form | Left:
        return self._opened


def test_nothing_opens_what_contexts_encrypted_without_their_store() -> None:
    with pytest.raises(ValueError, match="store"):
        FirstLook(DECRYPTING._replace(per=b"tenant"))
    # what is taken in is not opened
    assert FirstLook(ENCRYPTING._replace(per=b"tenant")).at(bson.encode({"_id": 1}), PLACES[0]) == Seen()


@pytest.mark.parametrize(
    ("value", "opened", "expected"),
    [
        (CONTEXT, (2, b"\2\0\0\0a\0"), Seen(True, False)),
        (CONTEXT, Left.DESTROYED_KEY, Seen(True, False)),
        (CONTEXT, Left.UNKNOWN_KEY, Seen(True, False, (Problem("nhs", Left.UNKNOWN_KEY),))),
        (sealed("a"), Left.UNKNOWN_KEY, Seen(problems=(Problem("nhs", Left.OTHER_CLASS),))),
        ("a", Left.UNKNOWN_KEY, Seen(False, True, (Problem("nhs", Left.IN_CLEAR),))),
    ],
    ids=["opens", "destroyed", "unknown", "class-key", "clear"],
)
def test_what_a_class_with_contexts_has_before_it_is_put_back(
    value: Any, opened: Form | Left, expected: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_ciphers", lambda _versions, _contexts: _Within(opened))
    versions = DECRYPTING._replace(per=b"tenant")
    raw = bson.encode({"_id": 1, "nhs": value})
    assert FirstLook(versions).at(raw, PLACES[0]) == expected


# What indexes say of where a scan may meet values that move.


INDEXED_PLACES = [ClassPaths("clinic.patients", PathNode(""), ("nhs", "kin.nhs"))]


class Listing:
    """A server with the indexes of one collection."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self._keys = keys

    def get_database(self, *_args: object) -> "Listing":
        return self

    def get_collection(self, _name: str, *_options: object) -> Any:
        return SimpleNamespace(list_indexes=lambda: [{"name": str(key), "key": key} for key in self._keys])


@pytest.mark.parametrize(
    ("keys", "walked"),
    [
        ([], set()),
        ([{"_id": 1}, {"nhs": 1}, {"nhs": 1, "ward": 1}, {"ward": 1, "bed": 1}], set()),
        ([{"ward": 1, "nhs": 1}, {"a.b": -1, "c": 1, "kin.nhs": 1}], {b"ward", b"a.b"}),
        ([{"nhs": 1, "kin.nhs": 1}], {b"nhs"}),
        ([{"ward": 1, "kin": 1}, {"bed": 1, "nhs.x": 1}], {b"ward", b"bed"}),
        ([{"ward": 1, "$**": 1}], {b"ward"}),
        ([{"$**": 1}], set()),
        ([{"a.$**": 1, "nhs": 1}], None),
    ],
)
def test_an_index_is_walked_by_its_first_field_if_a_path_stands_behind_it(
    keys: list[dict[str, Any]], walked: set[bytes] | None
) -> None:
    found = walked_fields(cast(Any, Listing(*keys)), INDEXED_PLACES)
    assert found == (None if walked is None else frozenset(walked))


# The first look at all documents: what stops a move before it begins, and what may be left.


def told(values: Iterable[LeftValue]) -> list[tuple[str, str, Left]]:
    return [(each.path, each.document_id, each.why) for each in values]


IN_CLEAR = [("nhs", "1", Left.IN_CLEAR), ("kin.nhs", "2", Left.IN_CLEAR)]


@pytest.mark.usefixtures("small_windows")
def test_a_value_out_of_reach_is_named_before_anything_moves() -> None:
    documents = {
        PATIENTS: [
            {"_id": 1, "nhs": sealed("a")},
            {"_id": 2, "nhs": [[sealed("b")]]},
            {"_id": 3, "kin": {"5": {"nhs": sealed("c")}}},
            {"_id": 4, "kin": [{"nhs": [sealed("d")]}]},
        ],
    }
    world = World(documents)
    done = world.live()
    assert done.standing is Standing.REFUSED
    assert told(done.refusal) == [
        ("nhs", "2", Left.NOT_ADDRESSABLE),
        ("kin.nhs", "3", Left.NOT_ADDRESSABLE),
    ]
    assert world.frontiers.document is None
    assert world.values.documents() == documents


@pytest.mark.usefixtures("small_windows")
def test_values_in_the_new_form_without_a_frontier_are_no_beginning() -> None:
    world = World({PATIENTS: [{"_id": 1, "nhs": sealed("a", NEW)}]})
    with pytest.raises(DamagedFile):
        world.live()
    assert world.frontiers.document is None


@pytest.mark.usefixtures("small_windows")
def test_what_is_no_value_of_the_class_stops_it_before_anything_moves() -> None:
    documents = {
        PATIENTS: [
            {"_id": 1, "nhs": "a", "kin": {"nhs": 5}},
            {"_id": 2, "nhs": ["b", Binary(b"under another key", 6), None]},
            {"_id": 3, "kin": [{"nhs": {"a": "document"}}]},
        ],
        VISITS: [],
    }
    world = World(documents, (), ENCRYPTING, WrongType.REFUSE)
    done = world.live()
    assert done.standing is Standing.REFUSED
    assert told(done.refusal) == [
        ("kin.nhs", "1", Left.WRONG_TYPE),
        ("nhs", "2", Left.WRONG_TYPE),
        ("kin.nhs", "3", Left.WRONG_TYPE),
    ]
    assert world.frontiers.document is None
    assert world.values.documents() == documents


@pytest.mark.usefixtures("small_windows")
def test_what_is_no_value_of_the_class_may_be_left_and_is_counted() -> None:
    patients = [{"_id": number, "nhs": f"{number}", "kin": {"nhs": number}} for number in range(150)]
    world = World({PATIENTS: patients, VISITS: []}, (), ENCRYPTING)
    done = world.live()
    assert (done.standing, done.left) == (Standing.DONE, {(PATIENTS, "kin.nhs", Left.WRONG_TYPE): 150})
    assert len(done.reported) == 100
    assert done.values == 150
    found = world.values.documents()[PATIENTS]
    assert [opened(each) for each in found] == patients
    assert all(isinstance(each["nhs"], Binary) for each in found)


@pytest.mark.usefixtures("small_windows")
def test_what_came_of_a_wrong_type_while_it_moved_stops_it_at_the_end() -> None:
    world = World(clinic(versions=ENCRYPTING), (), ENCRYPTING, WrongType.REFUSE)
    save = world.frontiers.save

    def write_then_save(frontier: Any) -> None:
        world.values.servers[PATIENTS].replace({"_id": 99, "nhs": 5})
        save(frontier)

    world.frontiers.save = write_then_save  # type: ignore[method-assign]
    done = world.live()
    assert (done.standing, world.activated) == (Standing.REFUSED, 0)
    assert [(each.path, each.document_id) for each in done.refusal] == [("nhs", "99")]
    world.values.servers[PATIENTS].replace({"_id": 99, "nhs": "mended past Sealwire"})
    assert (world.live().standing, world.activated) == (Standing.DONE, 1)
    assert opened(world.values.documents()[PATIENTS][-1]) == {"_id": 99, "nhs": "mended past Sealwire"}


def drifted(wrong_type: WrongType) -> World:
    """Two values in clear among encrypted ones."""
    documents = {
        PATIENTS: [{"_id": 1, "nhs": "in clear"}, {"_id": 2, "nhs": sealed("a"), "kin": [{"nhs": "clear"}]}],
        VISITS: [{"_id": number, "who": sealed(f"{number}")} for number in range(30)],
    }
    return World(documents, (), DECRYPTING, wrong_type)


@pytest.mark.usefixtures("small_windows")
def test_values_in_clear_stop_a_decryption_that_has_not_begun_and_are_named() -> None:
    world = drifted(WrongType.REFUSE)
    before = world.values.documents()
    done = world.live()
    assert (done.standing, world.activated) == (Standing.REFUSED, 0)
    assert told(done.refusal) == IN_CLEAR
    assert {each.namespace for each in done.refusal} == {PATIENTS}
    assert world.frontiers.document is None
    assert world.values.documents() == before
    # once they were mended it goes on
    world.values.servers[PATIENTS].replace({"_id": 1, "nhs": sealed("1")})
    world.values.servers[PATIENTS].replace({"_id": 2, "nhs": sealed("2")})
    assert (world.live().standing, world.activated) == (Standing.DONE, 1)


@pytest.mark.usefixtures("small_windows")
def test_or_are_left_and_named_at_the_end_as_well() -> None:
    world = drifted(WrongType.SKIP)
    done = world.live()
    assert (done.standing, world.activated, done.left) == (Standing.DONE, 1, {})
    assert told(done.reported) == IN_CLEAR
    assert texts(world.values.documents())[PATIENTS] == [
        {"_id": 1, "nhs": "in clear"},
        {"_id": 2, "nhs": "a", "kin": [{"nhs": "clear"}]},
    ]
    assert not any(isinstance(each["who"], Binary) for each in world.values.documents()[VISITS])


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("wrong_type", [WrongType.REFUSE, WrongType.SKIP])
def test_what_a_job_has_moved_itself_is_no_drift_where_its_frontier_has_gone(wrong_type: WrongType) -> None:
    world = World(clinic(40, versions=DECRYPTING), (), DECRYPTING, wrong_type)
    with pytest.raises(Death):
        world.live(dies_at=60)
    assert world.notes.job.documents
    world.frontiers.document = None
    with pytest.raises(DamagedFile):
        world.live()
    assert world.frontiers.document is None
