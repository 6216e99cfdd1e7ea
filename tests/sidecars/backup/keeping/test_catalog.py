"""Tests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.sidecars.backup.keeping.catalog import (
    LEFTOVER_AGE,
    Entry,
    RetentionPolicy,
    decide,
    kept_until,
    plan_prune,
    prune,
    read_catalog,
)
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.sealed.key_slots import KeySlot
from sealwire.sidecars.backup.sealed.sidecar import Sidecar
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import BackupReason, Unusable
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import KEK, change, make_manifest, seal

START = datetime(2026, 1, 5, 3, tzinfo=UTC)  # a Monday


def entry(days: float, *, verified: bool = False, problem: BackupReason | None = None) -> Entry:
    created = START + timedelta(days=days)
    sidecar = Sidecar(
        bytes(16),
        (KeySlot("k", b"w"),),
        1,
        "0" * 64,
        created if verified else None,
        make_manifest((), created),
    )
    return Entry(f"b{days:08.2f}", 1, created, sidecar, problem)


def kept(entries: list[Entry], policy: RetentionPolicy) -> list[Entry]:
    return [decision.entry for decision in decide(entries, policy) if decision.kept]


def test_days_weeks_and_months_keep_their_newest() -> None:
    entries = [entry(day + hour / 24) for day in range(60) for hour in (0, 12)]
    entries[-1] = entry(59.5, verified=True)
    assert kept(entries, RetentionPolicy(last=2)) == entries[-2:]
    assert kept(entries, RetentionPolicy(daily=3)) == [entries[index] for index in (-5, -3, -1)]
    weekly = kept(entries, RetentionPolicy(weekly=3))
    assert [item.created.isoweekday() for item in weekly] == [7, 7, 7, 4]
    monthly = kept(entries, RetentionPolicy(monthly=12))
    assert [(item.created.month, item.created.day) for item in monthly] == [(1, 31), (2, 28), (3, 5)]


def test_24_months_are_24_calendar_months() -> None:
    entries = [entry(day, verified=True) for day in range(1000)]
    end_of_january = entries[26]
    last_day = datetime(2028, 1, 31, 3, tzinfo=UTC)
    policy = RetentionPolicy(monthly=24)
    there = [each for each in entries if each.created <= last_day]
    assert kept(there, policy)[0] == end_of_january
    assert kept(entries[: len(there) + 1], policy)[0].created.month == 2


def test_a_verified_one_is_kept_rather_than_a_newer_one_of_the_same_period() -> None:
    verified = (0, 8, 9, 15)
    entries = [entry(day, verified=day in verified) for day in range(17)]
    assert [each.created for each in kept(entries, RetentionPolicy(weekly=9))] == [
        START + timedelta(days=day) for day in (0, 9, 15, 16)
    ]
    newest = decide(entries, RetentionPolicy(weekly=9))[-1]
    assert newest.reasons == ("newest",)
    assert kept([entry(0), entry(0.5)], RetentionPolicy(daily=1)) == [entry(0.5)]


def test_the_last_verified_one_stays_whatever_the_policy_says() -> None:
    entries = [entry(0), entry(1, verified=True), entry(2), entry(3)]
    decisions = decide(entries, RetentionPolicy(last=1))
    assert [decision.reasons for decision in decisions] == [(), ("last verified",), (), ("last",)]


def test_while_none_is_verified_the_newest_stays() -> None:
    decisions = decide([entry(0), entry(1)], RetentionPolicy(monthly=1))
    assert decisions[1].reasons == ("monthly", "newest, none is verified")


def test_what_cannot_be_read_is_never_removed_and_is_not_the_last_good_one() -> None:
    broken = entry(5, verified=True, problem=BackupReason.TRUNCATED)
    entries = [entry(0, verified=True), entry(1), broken]
    decisions = decide(entries, RetentionPolicy(last=1))
    assert [decision.reasons for decision in decisions] == [("last verified",), ("last",), ("not readable",)]


@given(
    days=st.lists(st.floats(0, 800).map(lambda day: round(day, 2)), min_size=1, unique=True),
    verified=st.sets(st.integers(0, 30)),
    numbers=st.tuples(*[st.integers(0, 5)] * 4).filter(any),
)
def test_something_good_is_always_kept(
    days: list[float], verified: set[int], numbers: tuple[int, int, int, int]
) -> None:
    entries = [entry(day, verified=index in verified) for index, day in enumerate(days)]
    left = kept(entries, RetentionPolicy(*numbers))
    good = [item for item in entries if item.sidecar is not None and item.sidecar.verified is not None]
    newest = max(good or entries, key=lambda item: item.created)
    assert newest in left
    assert max(entries, key=lambda item: item.created) in left
    running = sum(number > 0 for number in numbers[2:])
    assert len(left) <= sum(numbers) + running + 2


@pytest.mark.parametrize("numbers", [(0, 0, 0, 0), (1, -1, 0, 0)])
def test_a_policy_that_keeps_nothing_is_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(Unusable) as caught:
        RetentionPolicy(*numbers)
    assert caught.value.reason is BackupReason.RETENTION


def test_prune_removes_pairs_orphans_and_leftovers_and_nothing_else(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for day in range(4):
        seal(store, f"d{day}", created=NOW + timedelta(days=day))
    verify_backup(store, "d1", [KEK], NOW)
    (tmp_path / "gone.tar.gz.enc.json").write_bytes(b"{}")
    (tmp_path / ".dead.tar.gz.enc.partial").touch()
    (tmp_path / "notes.txt").touch()
    plan = plan_prune(store, RetentionPolicy(last=1), datetime.now(UTC) + 2 * LEFTOVER_AGE)
    assert plan.removed == ["d0", "d2"]
    assert plan.orphans == ("gone.tar.gz.enc.json",)
    assert plan.leftovers == (".dead.tar.gz.enc.partial",)
    prune(store, plan)
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock"))
    assert left == sorted(
        ["d1.tar.gz.enc", "d1.tar.gz.enc.json", "d3.tar.gz.enc", "d3.tar.gz.enc.json", "notes.txt"]
    )


def test_young_orphans_and_leftovers_may_belong_to_a_writer(tmp_path: Path) -> None:
    (tmp_path / "new.tar.gz.enc.json").write_bytes(b"{}")
    (tmp_path / ".new.tar.gz.enc.partial").touch()
    plan = plan_prune(LocalStore(tmp_path), RetentionPolicy(last=1), datetime.now(UTC))
    assert (plan.orphans, plan.leftovers) == ((), ())


def test_the_catalog_says_what_is_wrong_without_a_key(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("a", "b", "c", "d"):
        seal(store, name)
    (tmp_path / "b.tar.gz.enc.json").unlink()
    change(tmp_path / "c.tar.gz.enc.json", lambda content: content[:-2])
    change(tmp_path / "d.tar.gz.enc", lambda content: content[:-1])
    entries = {item.name: item for item in read_catalog(store).entries}
    assert {name: item.problem for name, item in entries.items()} == {
        "a": None,
        "b": BackupReason.SIDECAR_MISSING,
        "c": BackupReason.SIDECAR,
        "d": BackupReason.TRUNCATED,
    }
    assert entries["a"].created == NOW


@pytest.mark.parametrize(
    "policy",
    [
        RetentionPolicy(last=3),
        RetentionPolicy(daily=5),
        RetentionPolicy(weekly=2),
        RetentionPolicy(monthly=1),
        RetentionPolicy(monthly=2),
        RetentionPolicy(last=2, daily=9, weekly=1),
    ],
)
def test_no_backup_is_kept_beyond_its_last_day(policy: RetentionPolicy) -> None:
    """One is made and verified each day."""
    for day in range(100):
        now = START + timedelta(days=day)
        for each in kept([entry(number, verified=True) for number in range(day + 1)], policy):
            assert now <= kept_until(each.created, policy)
