"""Context keys in the KV engine of a real OpenBao: the contract, many writers, crashes, and what is left."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import hvac
import pytest

from sealwire.keys.contexts import shredding, transfer
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import CLASS_TAG, ContextRow, MarkKind, StoreMark, every_row
from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_documents import ContextDocuments, DestroyedLog
from sealwire.keys.vault.context_store import VaultContextStore
from sealwire.keys.vault.kv import keep_newest_only, standing_versions
from sealwire.testbed.openbao import OpenBao
from tests.integration.contexts_in_vault.asking import (
    as_root,
    connect,
    destroyed,
    documented_policy,
    shredded,
    unavailable,
)
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.contexts.store_contract import ContextStoreContract, row
from tests.keys.samples import NOW
from tests.support.openbao import make_token
from tests.support.reasons import refused
from tests.support.rows import rows

pytestmark = pytest.mark.integration

WAIT = timedelta(days=1)


class TestVaultContextStore(ContextStoreContract):
    """See the contract."""

    many = 130  # it asks for 64 at once, each a request: two calls for 64, and one for the rest


# --- many writers


def make_keys(address: str, token: str, path: str, first: int) -> list[tuple[bytes, bytes]]:
    """In a process of its own: a key for each of 30 contexts, which the other process makes as well."""
    store = VaultContextStore(connect(address, token), VaultDocument("secret", path))
    made = []
    for number in range(30):
        new = replace(row(1), key_id=bytes([first, number]) * 8, tag=bytes([number + 1]) * 16)
        (stands,) = store.create([new])
        made.append((stands.tag or b"", stands.key_id))
    return made


def test_two_processes_that_make_the_same_keys_agree(bao: OpenBao, place: VaultDocument) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = [pool.submit(make_keys, bao.address, bao.root_token, place.path, first) for first in (1, 2)]
        first, second = (each.result(timeout=60) for each in running)
    assert first == second
    store = VaultContextStore(connect(bao.address, bao.root_token), place)
    assert sorted((each.tag, each.key_id) for each in every_row(store, 1)) == sorted(first)
    assert store.count(1).live == 30


def test_what_one_host_makes_and_changes_another_sees(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    other = VaultContextStore(connect(bao.address, bao.root_token), place, create=False)
    store.create([row(1)])
    assert other.find_ids([row(1).key_id]) == [row(1)]
    mark, _ = other.destroyed_after(-1)
    gone = shredded(store, row(1))
    assert other.destroyed_after(mark)[1] == [row(1).key_id]
    assert other.find(1, [row(1).tag or b""]) == [gone]


def test_of_two_changes_of_one_row_the_second_does_nothing(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    other = VaultContextStore(connect(bao.address, bao.root_token), place)
    assert other.replace(row(1), replace(row(1), shred_after=NOW))
    assert not store.replace(row(1), destroyed(row(1)))
    assert store.destroyed_after(0)[1] == []
    assert not store.replace(replace(row(2), tag=None, wrapped=None, destroyed=NOW), row(2))


# --- writers that die on the way


def test_an_id_without_a_row_leads_nowhere_and_stands_in_nobody_s_way(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    lost = row(1)
    tag = lost.tag or b""
    as_root(bao, place)({"class_id": 1, "tag": tag.hex()}, "ids", "01", lost.key_id[1:].hex())
    assert store.find_ids([lost.key_id]) == store.find(1, [tag]) == store.rows(1, b"", 9) == []
    made = replace(row(2), tag=tag)
    assert store.create([made]) == [made]
    assert store.find_ids([lost.key_id]) == []
    assert store.rows(1, b"", 9) == [made]
    assert store.count(1).live == 1


def test_making_a_key_a_second_time_finds_the_first(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    """As after a connection that broke before the answer came."""
    assert store.create([row(1)]) == store.create([row(1)]) == [row(1)]
    documents = ContextDocuments(place)
    made = connection.call("make", lambda client: documents.create(client, row(1), row(1).tag or b""))
    assert made == row(1)


def test_a_destruction_that_was_only_begun_is_told_when_it_is_done(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    rows = [row(number) for number in range(1, 4)]
    store.create(rows)
    log = DestroyedLog(ContextDocuments(place))
    # two processes died, right before they wrote their rows
    for each in rows[:2]:
        connection.call("begin", partial(log.append, key_id=each.key_id, version=1))
    assert store.destroyed_after(-1) == (0, [])
    shredded(store, rows[2])
    assert store.destroyed_after(0) == (0, [rows[2].key_id])
    assert store.destroyed_after(-1) == (0, [])
    # the one is done once more, the other taken back
    shredded(store, rows[0])
    assert shredding.announce(store, rows[1], NOW, WAIT).shred_after == NOW + WAIT
    mark, gone = store.destroyed_after(0)
    assert (mark, set(gone)) == (4, {rows[0].key_id, rows[2].key_id})


def test_what_follows_a_destruction_that_was_only_begun_is_told_however_much_it_is(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    rows = [row(number) for number in range(1, 42)]
    store.create(rows)
    log = DestroyedLog(ContextDocuments(place))
    connection.call("begin", partial(log.append, key_id=rows[0].key_id, version=1))
    for each in rows[1:]:
        store.replace(each, destroyed(each))
    assert store.destroyed_after(0) == (0, [each.key_id for each in rows[1:]])
    # so old that nobody is at it any more
    assert store.destroyed_after(-1) == (41, [])


def test_a_key_that_was_deleted_while_it_was_to_be_destroyed_is_told_as_destroyed(
    store: VaultContextStore, connection: VaultConnection, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    documents = ContextDocuments(place)
    connection.call("begin", partial(DestroyedLog(documents).append, key_id=row(1).key_id, version=1))
    at = documents.of_tag(1, row(1).tag or b"")
    bao.client.secrets.kv.v2.delete_metadata_and_all_versions(at.path, mount_point=at.mount)
    assert store.destroyed_after(0) == (1, [row(1).key_id])


def test_a_context_that_was_half_let_in_again_can_be_let_in(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    store.create([row(1)])
    gone = shredded(store, row(1))
    free = replace(gone, tag=None)
    connection.call("begin", lambda client: ContextDocuments(place).put_former(client, free))
    assert store.find(1, [gone.tag or b""]) == store.find_ids([gone.key_id]) == [gone]
    assert store.count(1).destroyed == 1
    assert shredding.readmit(store, gone) == free
    assert store.find_ids([gone.key_id]) == [free]
    assert store.replace(free, free)
    second = replace(row(2), tag=gone.tag)
    assert store.create([second]) == [second]
    assert sorted(each.key_id for each in store.rows(1, b"", 9)) == [gone.key_id, second.key_id]
    assert (store.count(1).live, store.count(1).destroyed) == (1, 1)


def without(bao: OpenBao, place: VaultDocument, part: str) -> VaultContextStore:
    """A store for a token that has all rights on the page but those on the documents of this part."""
    policy = documented_policy("sealwire-contexts-operator", place.path)
    lines = [line for line in policy.splitlines() if f"/{part}/" not in line or "/data/" not in line]
    connected = connect(bao.address, make_token(bao, "\n".join(lines), name=f"without-{part}"))
    return VaultContextStore(connected, place, create=False)


def test_a_key_whose_id_cannot_be_written_is_not_made(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    limited = without(bao, place, "ids")
    unavailable(lambda: limited.create([row(1)]))
    assert store.find(1, [row(1).tag or b""]) == []


def test_a_key_whose_destruction_cannot_be_told_is_not_destroyed(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    limited = without(bao, place, "destroyed")
    unavailable(lambda: limited.replace(row(1), destroyed(row(1))))
    assert store.find_ids([row(1).key_id]) == [row(1)]


def test_a_destroyed_key_that_its_id_could_not_find_keeps_its_tag(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    gone = shredded(store, row(1))
    limited = without(bao, place, "former")
    unavailable(lambda: limited.replace(gone, replace(gone, tag=None)))
    assert store.find(1, [row(1).tag or b""]) == store.find_ids([gone.key_id]) == [gone]


# --- what is left of a destroyed key


def versions_of(bao: OpenBao, place: VaultDocument, old: ContextRow) -> dict[int, str | None]:
    """What an administrator reads of each version of a context's document; None where nothing comes."""
    at = ContextDocuments(place).of_tag(old.class_id, old.tag or b"")
    kv = bao.client.secrets.kv.v2
    newest = kv.read_secret_metadata(at.path, mount_point=at.mount)["data"]["current_version"]
    found: dict[int, str | None] = {}
    for version in range(1, newest + 1):
        kv.undelete_secret_versions(at.path, [version], mount_point=at.mount)
        try:
            answer = kv.read_secret_version(
                at.path, version=version, mount_point=at.mount, raise_on_deleted_version=True
            )
            found[version] = answer["data"]["data"]["row"] and answer["data"]["data"]["row"]["wrapped"]
        except hvac.exceptions.InvalidPath:
            found[version] = None
    return found


def test_no_version_has_a_key_that_was_destroyed(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    old = row(1)
    store.create([old])
    again = shredding.cancel(store, shredding.announce(store, old, NOW, WAIT))
    assert set(versions_of(bao, place, old).values()) == {"d3JhcHBlZCAx"}
    store.replace(again, replace(again, wrapped=b"anew", wrap_version=2))
    assert versions_of(bao, place, old) == {1: None, 2: None, 3: None, 4: "YW5ldw=="}
    assert store.has_bytes(old.wrapped or b"") is None
    shredded(store, replace(again, wrapped=b"anew", wrap_version=2))
    assert set(versions_of(bao, place, old).values()) == {None}
    assert store.has_bytes(b"anew") is None
    at = ContextDocuments(place).of_tag(1, old.tag or b"")
    metadata = bao.client.secrets.kv.v2.read_secret_metadata(at.path, mount_point=at.mount)["data"]
    assert (metadata["max_versions"], len(metadata["versions"])) == (1, 1)


def test_the_engine_drops_the_key_with_the_write_that_destroys_it(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    """So that a process that dies right after that write leaves nothing either."""
    old = row(1)
    store.create([old])
    documents = ContextDocuments(place)
    at = documents.of_tag(1, old.tag or b"")
    connection.call("limit", lambda client: keep_newest_only(client, at))
    connection.call("destroy", lambda client: documents.put_row(client, 1, old.tag or b"", destroyed(old), 1))
    left = connection.call("look", lambda client: standing_versions(client, at, "look"))
    assert [each["row"]["wrapped"] for each in left] == [None]


def test_a_version_that_was_only_deleted_is_reported(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    old = row(1)
    store.create([old])
    assert store.replace(old, replace(old, wrapped=b"anew"))
    put = as_root(bao, place)
    put({"row": {}}, "tags", 1, "01", "01" * 15)
    refused(lambda: store.has_bytes(old.wrapped or b""), DamagedFile, KeysReason.SCHEMA)
    at = ContextDocuments(place).of_tag(1, old.tag or b"")
    bao.client.secrets.kv.v2.delete_latest_version_of_secret(at.path, mount_point=at.mount)
    bao.client.secrets.kv.v2.destroy_secret_versions(at.path, [2], mount_point=at.mount)
    assert store.has_bytes(old.wrapped or b"") is True


def test_a_class_is_wrapped_anew_and_the_older_wrapping_is_gone(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    before = Resolver(store).find(keyring(1), [wanted("a"), wanted("b")])
    old = Resolver(store).row_of(keyring(1), "notes", b"a")
    assert old is not None
    assert list(shredding.rewrap(store, keyring(2), "notes")) == [True] * 3
    assert list(shredding.rewrap(store, keyring(2), "notes")) == [False] * 3
    after = Resolver(store).find(keyring(2), [wanted("a"), wanted("b")])
    assert after.by_context == before.by_context
    assert store.count(NOTES).wrapped_by == {2: 3}
    assert store.has_bytes(old.wrapped or b"") is None
    assert list(versions_of(bao, place, old)) == [1, 2]
    assert versions_of(bao, place, old)[1] is None


# --- the log of destructions


def test_the_end_of_a_long_log_is_found(store: VaultContextStore, connection: VaultConnection) -> None:
    rows = [row(number) for number in range(1, 100)]
    store.create(rows)
    for each in rows:
        store.replace(each, destroyed(each))
    assert store.destroyed_after(-1) == (99, [])
    other = VaultContextStore(connection, VaultDocument(*str(store).removeprefix("vault:").split("/", 1)))
    assert other.destroyed_after(-1) == (99, [])
    mark, gone = other.destroyed_after(0)
    assert (mark, gone) == (99, [each.key_id for each in rows])


def test_a_store_that_went_back_in_time_is_noticed(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    shredded(store, row(1))
    at = ContextDocuments(place).at("destroyed", 1)
    bao.client.secrets.kv.v2.delete_metadata_and_all_versions(at.path, mount_point=at.mount)
    refused(lambda: store.destroyed_after(1), DamagedFile, KeysReason.SCHEMA)


# --- a store that moves


def test_who_has_the_store_open_heeds_the_mark_before_the_mover_copies(
    connection: VaultConnection, place: VaultDocument
) -> None:
    now = [1000.0]
    used = VaultContextStore(connection, place, clock=lambda: now[0])
    mover = VaultContextStore(connection, place, for_move=True)
    used.create([row(1)])
    mark = StoreMark(MarkKind.LEAVING, "contexts.db")
    assert mover.set_mark(None, mark)
    # what it read a moment ago still counts: the mover waits for longer than that
    assert used.create([row(2)]) == [row(2)]
    now[0] += 5.0
    for action in (
        lambda: used.create([row(3)]),
        lambda: used.find(1, [row(1).tag or b""]),
        lambda: used.find_ids([row(1).key_id]),
        lambda: used.replace(row(1), replace(row(1), shred_after=NOW)),
    ):
        unavailable(action)
    assert mover.closing_s > 2 * 5.0
    assert mover.find(1, [row(1).tag or b""]) == [row(1)]
    assert mover.rows(1, b"", 9) == [row(1), row(2)]
    assert mover.set_mark(mark, None)
    assert used.create([row(3)]) == [row(3)]


def test_a_writer_that_slept_over_the_mark_does_not_use_what_it_made(
    connection: VaultConnection, place: VaultDocument
) -> None:
    now = [1000.0]
    used = VaultContextStore(connection, place, clock=lambda: now[0])
    used.create([row(1)])

    class Sleeper(VaultContextStore):
        def _each(self, *given: Any) -> Any:
            done = super()._each(*given)
            assert VaultContextStore(connection, place, for_move=True).set_mark(
                None, StoreMark(MarkKind.LEAVING, "contexts.db")
            )
            now[0] += 60.0
            return done

    sleeper = Sleeper(connection, place, clock=lambda: now[0])
    unavailable(lambda: sleeper.create([row(2)]))
    # nor does anybody else
    unavailable(lambda: used.find(1, [row(2).tag or b""]))


def test_a_store_that_is_filled_or_was_left_is_opened_by_the_mover_only(
    store: VaultContextStore, connection: VaultConnection, place: VaultDocument
) -> None:
    arriving = StoreMark(MarkKind.ARRIVING, "contexts.db")
    assert store.set_mark(None, arriving)
    unavailable(lambda: VaultContextStore(connection, place))
    assert store.set_mark(arriving, StoreMark(MarkKind.LEFT, "contexts.db"))
    refused(lambda: VaultContextStore(connection, place), KeySettingError, KeysReason.CONTEXTS)
    VaultContextStore(connection, place, for_move=True)


@rows("mark", None, {}, {"kind": "other", "other": "a", "token": ""}, {"kind": "left", "other": "a"}, "left")
def test_a_mark_that_was_edited_is_damage(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument, mark: object
) -> None:
    as_root(bao, place)({"format": 1, "mark": mark}, "store")
    refused(store.mark, DamagedFile, KeysReason.SCHEMA)


def test_all_keys_move_to_vault_with_the_documented_rights_and_back(
    bao: OpenBao, place: VaultDocument, tmp_path: Path
) -> None:
    token = make_token(bao, documented_policy("sealwire-contexts-operator", place.path))
    vault = VaultContextStore(connect(bao.address, token), place, for_move=True)
    with (
        closing(SqliteContextStore(tmp_path / "old.db", for_move=True)) as old,
        closing(SqliteContextStore(tmp_path / "back.db", for_move=True)) as back,
    ):
        resolver = Resolver(old)
        resolver.find(keyring(), [wanted(each, name) for each in "abcde" for name in ("notes", "letters")])
        first, second, *_ = (each for each in old.rows(NOTES, b"", 99) if each.tag != CLASS_TAG)
        gone = shredded(old, first)
        shredding.readmit(old, shredded(old, second))
        rows = [each for class_id in old.classes() for each in every_row(old, class_id)]
        assert transfer.transfer(old, vault, lambda _rows: None) == transfer.Transferred(12, 2)
        proxy = VaultContextStore(connect(bao.address, bao.root_token), place)
        found = Resolver(proxy).find(keyring(), [], [gone.key_id]).by_id[gone.key_id]
        assert found is not None
        assert found.key is None
        assert set(proxy.destroyed_after(0)[1]) == {gone.key_id, second.key_id}
        # a key that is made there is brought back as well
        Resolver(proxy).find(keyring(), [wanted("f")])
        waits: list[float] = []
        assert transfer.transfer(vault, back, lambda _rows: None, waits.append).rows == 13
        assert waits == [vault.closing_s]
        assert set(rows) < {each for class_id in back.classes() for each in every_row(back, class_id)}
        assert set(back.destroyed_after(0)[1]) == {gone.key_id, second.key_id}
