"""What versions other than those of a move have left behind: what it is, who opens it, and who moves it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.frontier.frontier import ClassVersion
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.sidecars.migration.engine import Pace
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.windows.looking import Repair, would_repair
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.strays import Strays, needs_key
from sealwire.sidecars.migration.windows.workers import Process, Worker
from sealwire.wire import kinds
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import Fate, MemoryNotes
from tests.sidecars.migration.windows.doubles import (
    BORROWED_OLD,
    CLASS_ID,
    LENDER_ID,
    NEW,
    NHS,
    OLD,
    PATIENTS,
    PLACES,
    VISITS,
    MemoryValues,
    form_of,
    job,
    sealed,
)
from tests.sidecars.migration.windows.world import World, clinic

MATERIAL = {1: bytes(range(64)), 2: bytes(range(64, 128)), 3: bytes(64)}
FIELD = FieldClass(NHS, Mode.DETERMINISTIC, ValueType.STRING)
THIRD = ValueCipher(MATERIAL[3], CLASS_ID, 3)


def key(version: int, state: KeyState, **how: Any) -> DataKey:
    material = None if state is KeyState.DESTROYED else MATERIAL[version]
    return DataKey(NHS, CLASS_ID, version, state, NOW, material, **how)


def strays(*keys: DataKey, right: tuple[ClassVersion, ...] = (ClassVersion(THIRD),)) -> Strays:
    lender = DataKey("lender", LENDER_ID, 5, KeyState.ACTIVE, NOW, MATERIAL[1])
    return Strays([lender, *keys], FIELD, right)


def holds(of: Strays, value: Any) -> bool:
    form = form_of(value)
    assert form is not None
    assert of.may_be_in(bson.encode({"v": value})) or not of.holds(*form)
    return of.holds(*form)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (KeyState.DECRYPT_ONLY, None),
        (KeyState.RETIRED, Left.RETIRED_KEY),
        (KeyState.DESTROYED, Left.DESTROYED_KEY),
    ],
)
def test_any_version_but_the_right_one_is_left_behind_and_its_own_key_opens_it(
    state: KeyState, why: Left | None
) -> None:
    found = strays(key(1, state), key(2, KeyState.DECRYPT_ONLY), key(3, KeyState.ACTIVE))
    assert [holds(found, sealed("x", each)) for each in (OLD, NEW, THIRD)] == [True, True, False]
    form = form_of(sealed("x"))
    assert form is not None
    opened = found.opened(*form)
    assert opened == (why or (kinds.STRING, bson.encode({"v": "x"})[7:-1]))
    unknown = form_of(sealed("x", ValueCipher(MATERIAL[3], CLASS_ID, 9)))
    assert unknown is not None
    assert (found.holds(*unknown), found.opened(*unknown)) == (True, Left.UNKNOWN_KEY)
    # that of another class is none of this one
    assert not holds(found, sealed("x", ValueCipher(MATERIAL[1], 77, 1)))
    assert not holds(found, "x")


def test_a_version_that_was_borrowed_is_left_behind_and_its_lender_opens_it_once_it_is_retired() -> None:
    borrowed = key(1, KeyState.RETIRED, lender=KeyIds(LENDER_ID, 5))
    found = strays(borrowed, key(3, KeyState.ACTIVE))
    form = form_of(sealed("x", BORROWED_OLD))
    assert form is not None
    assert found.holds(*form)
    assert found.opened(*form) == (kinds.STRING, bson.encode({"v": "x"})[7:-1])
    # a lender's version that the class never had is another class's
    assert not holds(found, sealed("x", ValueCipher(MATERIAL[2], 7, 2, (LENDER_ID, 6))))
    # while it is the right one, nothing is left behind
    right = (ClassVersion(BORROWED_OLD),)
    assert not holds(
        strays(key(1, KeyState.ACTIVE, lender=KeyIds(LENDER_ID, 5)), right=right), sealed("x", BORROWED_OLD)
    )


def test_values_in_clear_are_left_behind_if_a_version_was_plaintext() -> None:
    older = key(1, KeyState.DECRYPT_ONLY, is_plaintext=True)
    found = strays(older, key(3, KeyState.ACTIVE))
    assert [holds(found, value) for value in ("x", 5, Binary(b"x"))] == [True, False, False]
    retired = strays(key(1, KeyState.RETIRED, is_plaintext=True), key(3, KeyState.ACTIVE))
    assert not holds(retired, "x")
    moving = strays(older, key(3, KeyState.PENDING), right=(ClassVersion(OLD, True), ClassVersion(THIRD)))
    assert not holds(moving, "x")


def test_a_document_needs_what_a_key_made_at_any_path_and_a_borrowed_one_at_those_of_its_class() -> None:
    elsewhere = bson.encode({"_id": 1, "x": [{"y": sealed("x")}], "o": "in clear"})
    own = needs_key(key(1, KeyState.DECRYPT_ONLY), FIELD, None)
    assert (own(elsewhere), own(bson.encode({"nhs": sealed("x", NEW)}))) == (True, False)
    lent = key(1, KeyState.DECRYPT_ONLY, lender=KeyIds(LENDER_ID, 5))
    borrowed = needs_key(lent, FIELD, PLACES[0])
    value = sealed("x", BORROWED_OLD)
    documents: list[dict[str, Any]] = [
        {"nhs": value},
        {"kin": [{"nhs": [value]}]},
        {"o": value},
        {"nhs": "x"},
    ]
    assert [borrowed(bson.encode(each)) for each in documents] == [True, True, False, False]
    assert not needs_key(lent, FIELD, None)(bson.encode({"nhs": value}))
    clear = needs_key(key(1, KeyState.DECRYPT_ONLY, is_plaintext=True), FIELD, PLACES[0])
    assert [clear(bson.encode(each)) for each in documents] == [False, False, False, True]
    assert clear(bson.encode({"nhs": 5})) is False


# -------------------------------------------------------------------------------------------- what moves it


class Clinic:
    """A class of which version 2 is active, with what version 1 has left behind."""

    def __init__(self, patients: list[dict[str, Any]]) -> None:
        found = strays(key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE), right=(ClassVersion(NEW),))
        self.versions = Versions.of_class(ClassVersion(NEW), ClassVersion(NEW), FIELD, found)
        self.fate = Fate()
        self.values = MemoryValues({PATIENTS: patients, VISITS: []}, self.fate)
        self.notes = MemoryNotes(job(), self.fate)
        self.confirmed = 0

    def repair(self) -> Job:
        return Repair(self.notes.job, self.versions, self.values, self._confirm, self.notes, Pace()).run()

    def _confirm(self) -> None:
        self.confirmed += 1

    @property
    def patients(self) -> list[dict[str, Any]]:
        return self.values.documents()[PATIENTS]


def test_a_repair_moves_what_is_left_behind_and_nothing_else() -> None:
    world = Clinic(
        [
            {"_id": 1, "nhs": sealed("a"), "kin": [{"nhs": sealed("b")}, {"nhs": sealed("c", NEW)}]},
            {"_id": 2, "nhs": sealed("a", NEW)},
            {"_id": 3, "nhs": "in clear", "o": sealed("x")},
        ]
    )
    would = would_repair(world.notes.job, world.values, world.versions)
    assert (would.expected, world.fate.steps) == (1, 0)
    done = world.repair()
    assert (done.standing, done.documents, done.values, done.left) == (Standing.DONE, 1, 2, {})
    assert world.patients == [
        {"_id": 1, "nhs": sealed("a", NEW), "kin": [{"nhs": sealed("b", NEW)}, {"nhs": sealed("c", NEW)}]},
        {"_id": 2, "nhs": sealed("a", NEW)},
        {"_id": 3, "nhs": "in clear", "o": sealed("x")},
    ]
    # one pass to move, and one behind a barrier that finds nothing
    assert world.confirmed == 2


def test_what_the_application_writes_meanwhile_is_kept() -> None:
    world = Clinic([{"_id": each, "nhs": sealed(f"{each}")} for each in range(3)])
    update = world.values.update

    def write_first(namespace: str, updates: Any) -> Any:
        world.values.update = update  # type: ignore[method-assign]
        world.values.servers[PATIENTS].replace({"_id": 0, "nhs": sealed("new", NEW)})
        world.values.servers[PATIENTS].replace({"_id": 1, "nhs": sealed("1"), "kin": [{"nhs": sealed("2")}]})
        return update(namespace, updates)

    world.values.update = write_first  # type: ignore[method-assign]
    done = world.repair()
    assert (done.standing, done.races) == (Standing.DONE, 1)
    assert world.patients == [
        {"_id": 0, "nhs": sealed("new", NEW)},
        {"_id": 1, "nhs": sealed("1", NEW), "kin": [{"nhs": sealed("2", NEW)}]},
        {"_id": 2, "nhs": sealed("2", NEW)},
    ]


def test_it_ends_after_a_batch_when_somebody_wishes_it_and_begins_anew() -> None:
    world = Clinic([{"_id": 1, "nhs": sealed("a")}])
    world.notes.wish = Wish.PAUSE
    assert world.repair().standing is Standing.PAUSED
    world.notes.wish = Wish.RUN
    assert world.repair().standing is Standing.DONE
    assert world.patients == [{"_id": 1, "nhs": sealed("a", NEW)}]


@pytest.mark.parametrize("code", [11000, 121])
def test_what_the_server_refuses_is_named_by_document_and_path(code: int) -> None:
    world = Clinic([{"_id": each, "nhs": sealed(f"{each}")} for each in range(150)])
    world.values.servers[PATIENTS].codes = {5: code}
    done = world.repair()
    assert (done.standing, done.documents) == (Standing.DONE, 149)
    assert done.left == {(PATIENTS, "nhs", Left.SERVER): 1}
    assert [(each.document_id, each.path, each.code) for each in done.reported] == [("5", "nhs", code)]


@pytest.mark.usefixtures("small_windows")
def test_a_move_takes_what_is_left_behind_along_in_its_last_sweep() -> None:
    keys = (key(1, KeyState.ACTIVE), key(2, KeyState.PENDING), key(3, KeyState.DECRYPT_ONLY))
    right = ClassVersion(OLD), ClassVersion(NEW)
    versions = Versions.of_class(*right, FIELD, strays(*keys, right=right))
    documents: dict[str, Any] = clinic(20)
    documents[PATIENTS] += [{"_id": 98, "nhs": sealed("x", THIRD)}, {"_id": 99, "nhs": sealed("y", THIRD)}]
    world = World(documents, (), versions)
    world.values.servers[PATIENTS].codes = {99: 11000}
    done = world.live()
    assert (done.standing, world.activated) == (Standing.DONE, 1)
    assert done.left == {(PATIENTS, "nhs", Left.SERVER): 1}
    found = {each["_id"]: each for each in world.values.documents()[PATIENTS]}
    assert (found[98], found[99]) == (
        {"_id": 98, "nhs": sealed("x", NEW)},
        {"_id": 99, "nhs": sealed("y", THIRD)},
    )
    # another code is no collision: the move is not over before it was mended
    world = World(documents, (), versions)
    world.values.servers[PATIENTS].codes = {99: 121}
    assert (world.live().standing, world.activated) == (Standing.REFUSED, 0)


# Which processes are known to have ended, and which stand in each other's way.


ME = Process.of_this_one()


def test_a_process_of_this_machine_is_known_to_run_or_to_have_ended() -> None:
    assert not ME.has_ended
    assert ME._replace(started=ME.started + 1).has_ended  # another one has its number now
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert ME._replace(pid=child.pid).has_ended


def test_one_that_nobody_has_waited_for_has_ended() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    started = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[19])
    assert ME._replace(pid=child, started=started).has_ended
    os.waitpid(child, 0)


def test_of_another_machine_nothing_is_known() -> None:
    assert not ME._replace(machine="another", pid=2**22 + 1).has_ended
    assert not ME._replace(machine="", pid=2**22 + 1).has_ended


BEFORE = Worker("a", "job-1", 7, 2, frozenset({"clinic.patients nhs"}), ME)


@pytest.mark.parametrize(
    ("other", "stands_in_the_way"),
    [
        (BEFORE, False),
        (BEFORE._replace(job="job-2"), False),
        (BEFORE._replace(new_version=3, paths=frozenset()), True),
        (BEFORE._replace(class_id=8), True),
        (BEFORE._replace(class_id=8, paths=frozenset({"clinic.patients mrn"})), False),
    ],
)
def test_another_move_is_one_of_the_same_values_to_another_version(
    other: Worker, *, stands_in_the_way: bool
) -> None:
    assert BEFORE.is_of_another_move(other) is other.is_of_another_move(BEFORE) is stands_in_the_way
