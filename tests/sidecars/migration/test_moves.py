"""Which paths are moved, by a policy; and that a job still fits it."""

import pytest

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.moves import Direction, Move, check_moves, class_at, moves_of, tree_of
from sealwire.sidecars.migration.planning import move_back

POLICY = load_policy(
    b"""version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
  staff: {mode: random}
collections:
  clinic.patients: {nhs: nhs, notes: notes, visits.by.name: staff, visits.text: notes}
  clinic.wards: {nurse: staff}
""",
    "policy.yaml",
)
PATIENTS, WARDS = "clinic.patients", "clinic.wards"
NOTES = Move(PATIENTS, "notes", "notes")


def test_paths_of_random_classes_are_moved_and_others_named() -> None:
    movable, refused = moves_of(POLICY, [PATIENTS, WARDS, "clinic.others"])
    assert [move.path for move in movable] == ["notes", "visits.by.name", "visits.text", "nurse"]
    assert refused == [Move(PATIENTS, "nhs", "nhs")]
    assert moves_of(POLICY, [PATIENTS], "visits.text") == ([Move(PATIENTS, "visits.text", "notes")], [])
    movable, _ = moves_of(POLICY, [PATIENTS, WARDS], class_name="staff")
    assert [(move.namespace, move.path) for move in movable] == [
        (PATIENTS, "visits.by.name"),
        (WARDS, "nurse"),
    ]


@pytest.mark.parametrize(
    ("direction", "move"),
    [
        (Direction.ENCRYPT, Move(PATIENTS, "notes", "staff")),
        (Direction.REENCRYPT, Move(PATIENTS, "other", "notes")),
        (Direction.ENCRYPT, Move(PATIENTS, "nhs", "nhs")),
        (Direction.DECRYPT, Move(PATIENTS, "notes", "")),
    ],
)
def test_a_job_that_the_policy_contradicts_is_refused(direction: Direction, move: Move) -> None:
    with pytest.raises(Unusable) as caught:
        check_moves(POLICY, direction, [NOTES, move] if direction is not Direction.DECRYPT else [move])
    assert caught.value.reason is MigrationReason.POLICY_CHANGED
    check_moves(POLICY, Direction.ENCRYPT, [NOTES])
    check_moves(POLICY, Direction.DECRYPT, [Move(PATIENTS, "other", "")])


@pytest.mark.parametrize(
    ("path", "covered"),
    [("notes", True), ("notes.deeper", True), ("visits", True), ("visits.by", True), ("other", False)],
)
def test_a_path_is_covered_also_by_one_above_or_below_it(path: str, covered: bool) -> None:
    assert (class_at(POLICY, PATIENTS, path) is not None) is covered
    assert class_at(POLICY, "clinic.others", path) is None


@pytest.mark.parametrize("path", ["visits.0.other", "a..b", "", "$x"])
def test_what_is_no_path_of_a_policy_is_not_decrypted(path: str) -> None:
    with pytest.raises(Unusable):
        move_back(POLICY, PATIENTS, path)
    assert move_back(POLICY, PATIENTS, "other.name") == Move(PATIENTS, "other.name", "")


def test_a_tree_has_the_paths_of_its_moves() -> None:
    movable, _ = moves_of(POLICY, [PATIENTS])
    tree = tree_of(movable)
    found = {node.path: node.leaf.name for node in leaves(tree) if node.leaf is not None}
    assert found == {move.path: move.class_name for move in movable}
