"""Keys of contexts move to another store: all of them, killed anywhere, while others have the old one."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.contexts import transfer
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import CLASS_TAG, ContextRow, MarkKind, StoreMark
from sealwire.keys.errors import AlreadyExists, KekUnavailable, KeyringBusy, KeySettingError, KeysReason
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW

GONE = replace(row(3), wrapped=None, destroyed=NOW)
FREED = replace(row(4), wrapped=None, destroyed=NOW, tag=None)
ROWS = [row(1), row(2), GONE, FREED, row(5, tag=row(4).tag), row(6, tag=CLASS_TAG), row(7, class_id=2)]


class Killed(Exception):
    """In place of a kill."""


class Cut(SqliteContextStore):
    """Its process dies at a write: before it, or after it."""

    left = 1_000

    def _step(self) -> None:
        Cut.left -= 1
        if Cut.left == 0:
            raise Killed

    def adopt(self, rows: Any) -> list[ContextRow]:
        self._step()
        done = super().adopt(rows)
        self._step()
        return done

    def set_mark(self, old: StoreMark | None, new: StoreMark | None) -> bool:
        self._step()
        done = super().set_mark(old, new)
        self._step()
        return done


class Pair:
    """Two places, opened for a move, and the old one as somebody uses it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.paths = folder / "old.db", folder / "new.db"
        self._stack = stack
        self.used = stack.enter_context(closing(SqliteContextStore(self.paths[0])))
        self.used.adopt(ROWS)
        self.old, self.new = self.opened()

    def opened(self) -> tuple[Cut, Cut]:
        old, new = (self._stack.enter_context(closing(Cut(path, for_move=True))) for path in self.paths)
        return old, new

    def run(self) -> transfer.Transferred:
        return transfer.transfer(*self.opened(), lambda _rows: None)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    Cut.left = 1_000
    with ExitStack() as stack:
        yield Pair(tmp_path, stack)


def all_rows(store: SqliteContextStore) -> list[ContextRow]:
    return [*store.rows(1, b"", 99), *store.rows(2, b"", 99)]


def is_leaving(pair: Pair) -> bool:
    mark = pair.old.mark()
    return mark is not None and mark.names(MarkKind.LEAVING, str(pair.new))


def refused(action: Callable[[], object], kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        action()
    assert getattr(caught.value, "reason", None) in (KeysReason.CONTEXTS, KeysReason.WRITER)
    assert getattr(caught.value, "hint", "")


def test_all_rows_come_along_destroyed_ones_too(pair: Pair) -> None:
    seen: list[int] = []
    assert transfer.count_rows(pair.old) == transfer.Transferred(7, 2)
    done = transfer.transfer(pair.old, pair.new, seen.append)
    assert done == transfer.Transferred(7, 2)
    assert sum(seen) == 7
    assert all_rows(pair.new) == ROWS
    assert set(pair.new.destroyed_after(0)[1]) == {GONE.key_id, FREED.key_id}
    assert pair.old.mark() == StoreMark(MarkKind.LEFT, str(pair.new))
    with closing(SqliteContextStore(pair.paths[1])) as used:
        assert used.create([row(9)]) == [row(9)]


def test_who_has_the_old_store_open_makes_no_key_from_the_first_row_on(pair: Pair) -> None:
    def try_it(_rows: int) -> None:
        assert pair.used.find(1, [row(1).tag or b""]) == [row(1)]
        refused(lambda: pair.used.create([row(9)]), KekUnavailable)
        refused(lambda: pair.used.replace(row(1), replace(row(1), shred_after=NOW)), KekUnavailable)
        refused(lambda: SqliteContextStore(pair.paths[1]), KekUnavailable)

    transfer.transfer(pair.old, pair.new, try_it)
    refused(lambda: pair.used.create([row(9)]), KekUnavailable)
    refused(lambda: pair.used.find(1, [row(9).tag or b""]), KekUnavailable)
    assert all_rows(pair.new) == ROWS


def test_killed_at_any_write_a_second_run_ends_it_and_nobody_makes_a_key_twice(tmp_path: Path) -> None:
    for number in range(1, 100):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ExitStack() as stack:
            Cut.left = 1_000
            pair = Pair(folder, stack)
            Cut.left = number
            try:
                pair.run()
            except Killed:
                ended = False
            else:
                ended = True
            Cut.left = 1_000
            usable = []
            # before its first write, a move has changed nothing
            for path in pair.paths if number > 1 else pair.paths[:1]:
                try:
                    with closing(SqliteContextStore(path)) as store:
                        store.create([row(9)])
                        usable.append(path)
                except (KekUnavailable, KeySettingError):
                    continue
            assert len(usable) <= 1
            assert pair.run().rows == 7 + len(usable)
            assert [each for each in all_rows(pair.new) if each != row(9)] == ROWS
        if ended:
            assert number > 8
            return
    pytest.fail("it never ended")


def test_the_mover_waits_until_everybody_heeds_the_mark(pair: Pair) -> None:
    class Slow(Cut):
        closing_s = 15.0

    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert is_leaving(pair)
        assert all_rows(pair.new) == []

    with closing(Slow(pair.paths[0], for_move=True)) as old:
        transfer.transfer(old, pair.new, lambda _rows: None, sleep)
    assert waits == [15.0]


def test_a_row_that_came_while_it_was_copied_is_copied_as_well(pair: Pair) -> None:
    """In Vault one may be written late, by a process that then sees the mark and does not use it."""
    late = [row(9)]

    def write(_rows: int) -> None:
        if late:
            mark = pair.old.mark()
            assert pair.old.set_mark(mark, None)
            pair.old.adopt([late.pop()])
            assert pair.old.set_mark(None, mark)

    assert transfer.transfer(pair.old, pair.new, write).rows == 8
    assert row(9) in all_rows(pair.new)


def test_a_move_is_called_off_and_begun_again_after_keys_have_changed(pair: Pair) -> None:
    Cut.left = 7
    with pytest.raises(Killed):
        pair.run()
    Cut.left = 1_000
    assert all_rows(pair.new)
    transfer.call_off(pair.old, str(pair.new))
    shredded = replace(row(1), wrapped=None, destroyed=NOW)
    assert pair.used.replace(row(1), shredded)
    # a freed tag goes to a key that comes before it, and one that comes after it
    assert pair.used.replace(row(2), replace(row(2), wrapped=None, destroyed=NOW))
    assert pair.used.replace(
        replace(row(2), wrapped=None, destroyed=NOW), replace(row(2), wrapped=None, destroyed=NOW, tag=None)
    )
    before = replace(row(2), key_id=bytes(15) + b"\1")
    pair.used.create([before])
    pair.run()
    assert all_rows(pair.new) == all_rows(pair.old)
    assert shredded in all_rows(pair.new)
    assert before in all_rows(pair.new)


def test_a_move_that_is_over_is_not_called_off(pair: Pair) -> None:
    refused(lambda: transfer.call_off(pair.old, str(pair.new)), KeySettingError)
    pair.run()
    refused(lambda: transfer.call_off(pair.old, str(pair.new)), KeySettingError)
    assert pair.run().rows == 7


def test_a_store_with_keys_of_its_own_takes_none(pair: Pair) -> None:
    pair.new.create([row(9)])
    refused(pair.run, AlreadyExists)
    assert pair.old.mark() is None
    assert pair.used.create([row(8)]) == [row(8)]


@pytest.mark.parametrize(
    "other", [row(9), replace(row(9), tag=row(1).tag), row(9, class_id=3), replace(row(1), class_id=3)]
)
def test_what_somebody_else_wrote_there_meanwhile_stops_it(pair: Pair, other: ContextRow) -> None:
    assert pair.new.set_mark(None, StoreMark(MarkKind.ARRIVING, str(pair.old)))
    pair.new.create([other])
    refused(pair.run, AlreadyExists)
    assert is_leaving(pair)
    assert pair.new.mark() == StoreMark(MarkKind.ARRIVING, str(pair.old))


def test_one_move_at_a_time(pair: Pair) -> None:
    assert pair.old.set_mark(None, StoreMark(MarkKind.LEAVING, "elsewhere"))
    refused(pair.run, KeySettingError)
    assert pair.old.set_mark(pair.old.mark(), StoreMark(MarkKind.ARRIVING, "elsewhere"))
    refused(pair.run, KeySettingError)
    assert pair.old.set_mark(pair.old.mark(), None)
    assert pair.new.set_mark(None, StoreMark(MarkKind.ARRIVING, "elsewhere"))
    refused(pair.run, AlreadyExists)


def test_a_new_store_that_is_gone_is_not_made_anew(pair: Pair) -> None:
    pair.run()
    refused(lambda: transfer.require_room(pair.old, None, str(pair.new)), KeySettingError)


def test_rows_that_change_all_the_time_end_the_run(pair: Pair) -> None:
    numbers = iter(range(99, 20, -1))

    def write(_rows: int) -> None:
        mark = pair.old.mark()
        pair.old.set_mark(mark, None)
        number = next(numbers)
        # behind the place that the copying has come to
        pair.old.adopt([replace(row(number), key_id=bytes(15) + bytes([number]))])
        pair.old.set_mark(None, mark)

    refused(lambda: transfer.transfer(pair.old, pair.new, write), KeyringBusy)


def test_a_move_that_was_called_off_does_not_end_the_one_that_was_begun_after_it(pair: Pair) -> None:
    def call_off_and_begin_again(_rows: int) -> None:
        mark = pair.old.mark()
        if mark is not None and mark.token == "another":
            return
        transfer.call_off(pair.old, str(pair.new))
        pair.used.create([row(9)])
        assert pair.old.set_mark(None, StoreMark(MarkKind.LEAVING, str(pair.new), "another"))

    refused(lambda: transfer.transfer(pair.old, pair.new, call_off_and_begin_again), KeyringBusy)
    assert is_leaving(pair)
    assert pair.run().rows == 8
