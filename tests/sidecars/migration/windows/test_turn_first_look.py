"""The first look at all documents: what stops a move before it begins, and what may be left."""

from typing import Any

import pytest
from bson.binary import Binary

from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import Standing
from tests.sidecars.migration.doubles import Death
from tests.sidecars.migration.windows.doubles import (
    DECRYPTING,
    ENCRYPTING,
    NEW,
    PATIENTS,
    VISITS,
    opened,
    sealed,
)
from tests.sidecars.migration.windows.world import World, clinic, texts

pytestmark = pytest.mark.usefixtures("small_windows")

IN_CLEAR = [("nhs", "1", Left.IN_CLEAR), ("kin.nhs", "2", Left.IN_CLEAR)]


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
    assert [(each.path, each.document_id, each.why) for each in done.refusal] == [
        ("nhs", "2", Left.NOT_ADDRESSABLE),
        ("kin.nhs", "3", Left.NOT_ADDRESSABLE),
    ]
    assert world.frontiers.document is None
    assert world.values.documents() == documents


def test_values_in_the_new_form_without_a_frontier_are_no_beginning() -> None:
    world = World({PATIENTS: [{"_id": 1, "nhs": sealed("a", NEW)}]})
    with pytest.raises(DamagedFile):
        world.live()
    assert world.frontiers.document is None


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
    assert [(each.path, each.document_id, each.why) for each in done.refusal] == [
        ("kin.nhs", "1", Left.WRONG_TYPE),
        ("nhs", "2", Left.WRONG_TYPE),
        ("kin.nhs", "3", Left.WRONG_TYPE),
    ]
    assert world.frontiers.document is None
    assert world.values.documents() == documents


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


def test_values_in_clear_stop_a_decryption_that_has_not_begun_and_are_named() -> None:
    world = drifted(WrongType.REFUSE)
    before = world.values.documents()
    done = world.live()
    assert (done.standing, world.activated) == (Standing.REFUSED, 0)
    assert [(each.path, each.document_id, each.why) for each in done.refusal] == IN_CLEAR
    assert {each.namespace for each in done.refusal} == {PATIENTS}
    assert world.frontiers.document is None
    assert world.values.documents() == before
    # once they were mended it goes on
    world.values.servers[PATIENTS].replace({"_id": 1, "nhs": sealed("1")})
    world.values.servers[PATIENTS].replace({"_id": 2, "nhs": sealed("2")})
    assert (world.live().standing, world.activated) == (Standing.DONE, 1)


def test_or_are_left_and_named_at_the_end_as_well() -> None:
    world = drifted(WrongType.SKIP)
    done = world.live()
    assert (done.standing, world.activated, done.left) == (Standing.DONE, 1, {})
    assert [(each.path, each.document_id, each.why) for each in done.reported] == IN_CLEAR
    assert texts(world.values.documents())[PATIENTS] == [
        {"_id": 1, "nhs": "in clear"},
        {"_id": 2, "nhs": "a", "kin": [{"nhs": "clear"}]},
    ]
    assert not any(isinstance(each["who"], Binary) for each in world.values.documents()[VISITS])


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
