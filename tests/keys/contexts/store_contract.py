"""The contract that every store of context keys keeps: a class to inherit from."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from sealwire.keys.contexts.store import CLASS_TAG, ContextRow, ContextStore, MarkKind, StoreMark, every_row
from tests.keys.samples import NOW


def row(number: int, class_id: int = 1, tag: bytes | None = None) -> ContextRow:
    own = tag or bytes([number]) * 16
    return ContextRow(bytes([number]) * 16, class_id, own, 1, b"wrapped %d" % number, NOW)


class ContextStoreContract:
    """A subclass has a fixture `store`: one in which nothing lies yet."""

    many = 2000
    """More rows than a store asks for at once."""

    def test_nothing_is_found_at_first(self, store: ContextStore) -> None:
        assert store.find(1, [bytes(16)]) == store.find_ids([bytes(16)]) == []
        assert store.rows(1, b"", 10) == []

    def test_what_was_created_is_found_by_tag_and_by_id(self, store: ContextStore) -> None:
        rows = [row(number) for number in range(1, 5)]
        assert sorted(store.create(rows), key=lambda each: each.key_id) == rows
        assert store.find(1, [rows[1].tag or b""]) == [rows[1]]
        assert store.find(2, [rows[1].tag or b""]) == []
        assert store.find_ids([rows[2].key_id, bytes(16)]) == [rows[2]]

    def test_more_are_found_than_a_statement_takes(self, store: ContextStore) -> None:
        ids = [number.to_bytes(16, "big") for number in range(self.many)]
        store.create([row(7), *(replace(row(1), key_id=each, tag=each[::-1]) for each in ids[1:])])
        assert len(store.find_ids(ids)) == self.many - 1

    def test_the_first_key_of_a_context_stands(self, store: ContextStore) -> None:
        first, second = row(1), replace(row(2), tag=row(1).tag)
        store.create([first])
        assert store.create([second]) == [first]
        assert store.find_ids([second.key_id]) == []

    def test_of_many_that_make_a_key_at_once_all_get_the_same(self, store: ContextStore) -> None:
        rows = [replace(row(number), tag=row(1).tag) for number in range(1, 9)]
        with ThreadPoolExecutor(len(rows)) as pool:
            made = list(pool.map(store.create, [[each] for each in rows]))
        assert made == [made[0]] * len(rows)
        assert store.rows(1, b"", 99) == store.find(1, [row(1).tag or b""]) == made[0]
        assert store.find_ids([each.key_id for each in rows]) == made[0]

    def test_a_row_is_replaced_where_it_stands_and_nowhere_else(self, store: ContextStore) -> None:
        old = row(1)
        store.create([old])
        new = replace(old, wrap_version=2, wrapped=b"anew", shred_after=NOW)
        assert store.replace(old, new)
        assert not store.replace(old, replace(old, wrapped=b"third"))
        assert store.find_ids([old.key_id]) == [new]

    def test_destructions_are_told_since_a_mark(self, store: ContextStore) -> None:
        rows = [row(number) for number in range(1, 4)]
        store.create(rows)
        mark, none = store.destroyed_after(-1)
        assert none == []
        for each in rows[:2]:
            assert store.replace(each, replace(each, wrapped=None, destroyed=NOW))
        later, gone = store.destroyed_after(mark)
        assert gone == [rows[0].key_id, rows[1].key_id]
        assert store.destroyed_after(later) == (later, [])
        assert store.destroyed_after(-1) == (later, [])

    def test_a_destroyed_key_stays_destroyed_when_its_tag_is_given_up(self, store: ContextStore) -> None:
        old = row(1)
        store.create([old])
        gone = replace(old, wrapped=None, destroyed=NOW)
        free = replace(gone, tag=None)
        assert store.replace(old, gone)
        mark, _ = store.destroyed_after(-1)
        assert store.replace(gone, free)
        assert store.destroyed_after(mark) == (mark, [])
        assert store.create([replace(row(2), tag=old.tag)]) == [replace(row(2), tag=old.tag)]
        assert store.find_ids([old.key_id]) == [free]

    def test_they_are_counted_by_class_and_version(self, store: ContextStore) -> None:
        rows = [row(number) for number in range(1, 5)]
        store.create([*rows, row(9, tag=CLASS_TAG), row(8, class_id=2)])
        assert store.replace(rows[0], replace(rows[0], wrapped=None, destroyed=NOW))
        assert store.replace(rows[1], replace(rows[1], shred_after=NOW + timedelta(days=1)))
        assert store.replace(rows[2], replace(rows[2], wrap_version=2))
        count = store.count(1)
        assert (count.live, count.announced, count.destroyed) == (3, 1, 1)
        assert count.wrapped_by == {1: 3, 2: 1}

    def test_all_rows_are_gone_through_in_order(self, store: ContextStore) -> None:
        rows = [row(number) for number in range(1, 8)]
        store.create([*rows, row(99, class_id=2)])
        assert list(every_row(store, 1, batch=3)) == rows

    def test_the_bytes_of_a_destroyed_key_are_gone(self, store: ContextStore) -> None:
        old = replace(row(1), wrapped=b"these bytes are to go away " * 3)
        store.create([old, row(2)])
        assert store.has_bytes(old.wrapped or b"") is not False
        assert store.replace(old, replace(old, wrapped=None, destroyed=NOW))
        assert store.has_bytes(old.wrapped or b"") is not True

    def test_rows_of_another_store_are_kept_as_they_are(self, store: ContextStore) -> None:
        gone = replace(row(2), wrapped=None, destroyed=NOW)
        rows = [row(1), gone, replace(gone, key_id=row(3).key_id, tag=None), row(9, 2, CLASS_TAG)]
        mark, _ = store.destroyed_after(-1)
        assert store.adopt(rows) == store.adopt(rows) == []
        assert store.rows(1, b"", 9) == rows[:3]
        assert store.rows(2, b"", 9) == rows[3:]
        assert (store.classes(), store.size()) == ([1, 2], 4)
        assert set(store.destroyed_after(mark)[1]) == {gone.key_id, row(3).key_id}
        assert store.count(1).destroyed == 2

    def test_what_is_in_the_way_of_another_stores_rows_is_told_and_stays(self, store: ContextStore) -> None:
        rows = [row(1), row(2), row(3)]
        store.create(rows[:2])
        of_context, changed = replace(row(4), tag=row(1).tag), replace(row(2), wrapped=b"other")
        clashes = store.adopt([of_context, changed, row(3)])
        assert sorted(clashes, key=lambda each: each.key_id) == rows[:2]
        assert store.rows(1, b"", 9) == rows

    def test_a_mark_is_put_where_the_one_before_it_stands(self, store: ContextStore) -> None:
        leaving = StoreMark(MarkKind.LEAVING, "vault:secret/other")
        left = StoreMark(MarkKind.LEFT, leaving.other)
        assert store.mark() is None
        assert store.set_mark(None, leaving)
        assert not store.set_mark(None, left)
        assert store.mark() == leaving
        assert store.set_mark(leaving, left)
        assert store.mark() == left
        assert store.set_mark(left, None)
        assert store.mark() is None
        assert store.create([row(1)]) == [row(1)]
