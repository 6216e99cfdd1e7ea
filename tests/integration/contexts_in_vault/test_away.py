"""Context keys in Vault: what is no store of Sealwire's, rights, and a server that does not answer."""

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.store import MarkKind, StoreMark
from sealwire.keys.errors import DamagedFile, KekDenied, KeySettingError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_documents import ContextDocuments
from sealwire.keys.vault.context_store import VaultContextStore
from sealwire.testbed.child import free_port
from sealwire.testbed.openbao import OpenBao
from tests.integration.contexts_in_vault.asking import (
    as_root,
    connect,
    destroyed,
    documented_policy,
    shredded,
    unavailable,
)
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW
from tests.support.openbao import enable_kv, make_token, raft_server
from tests.support.reasons import refused
from tests.support.rows import rows

pytestmark = pytest.mark.integration


def test_where_none_is_wanted_none_is_made(connection: VaultConnection, place: VaultDocument) -> None:
    refused(
        lambda: VaultContextStore(connection, place, create=False), KeySettingError, KeysReason.FILE_MISSING
    )
    VaultContextStore(connection, place)
    VaultContextStore(connection, place, create=False)


def test_a_store_of_another_format_is_left_alone(
    connection: VaultConnection, place: VaultDocument, bao: OpenBao
) -> None:
    as_root(bao, place)({"format": 2}, "store")
    refused(lambda: VaultContextStore(connection, place), DamagedFile, KeysReason.SCHEMA)


GOOD = {
    "key_id": "01" * 16,
    "class_id": 1,
    "tag": "01" * 16,
    "wrap_version": 1,
    "wrapped": "AAAA",
    "created": "2026-07-01T12:00:00Z",
    "shred_after": None,
    "destroyed": None,
}


@rows(
    "content",
    {},
    {"other": 1},
    {"row": "text"},
    {"row": {name: value for name, value in GOOD.items() if name != "created"}},
    {"row": GOOD | {"key_id": "01"}},
    {"row": GOOD | {"key_id": None}},
    {"row": GOOD | {"wrapped": "?"}},
    {"row": GOOD | {"wrapped": 5}},
    {"row": GOOD | {"created": "yesterday"}},
    {"row": GOOD | {"wrapped": None}},
    {"row": GOOD | {"destroyed": "2026-07-01T12:00:00Z"}},
    {"row": GOOD | {"tag": None}},
    {"row": GOOD | {"tag": "02" * 16}},
    {"row": GOOD | {"class_id": 2}},
    {"row": GOOD | {"wrap_version": []}},
    {"row": GOOD | {"wrap_version": True}},
    {"row": GOOD | {"wrap_version": 1 << 40}},
    {"row": GOOD | {"created": "0001-01-01T00:00:00+14:00"}},
)
def test_a_row_that_was_edited_is_damaged(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument, content: dict[str, Any]
) -> None:
    as_root(bao, place)(content, "tags", 1, "01", "01" * 15)
    error = refused(lambda: store.find(1, [b"\1" * 16]), DamagedFile, KeysReason.SCHEMA)
    assert "0101" not in f"{error} {error.hint}"


@rows(
    "parts, content",
    (("ids", "01", "01" * 15), {"class_id": 1}),
    (("ids", "01", "01" * 15), {"class_id": "one", "tag": "01" * 16}),
    (("ids", "01", "01" * 15), {"class_id": 1, "tag": "01"}),
    (("ids", "01", "no id"), {"class_id": 1, "tag": "01" * 16}),
    (("destroyed", 1), {"key_id": 5, "version": 1}),
    (("destroyed", 1), {"version": 1}),
    (("destroyed", 1), {"key_id": "01" * 16, "version": 1.5}),
)
def test_other_documents_that_were_edited_are_damaged(
    store: VaultContextStore,
    bao: OpenBao,
    place: VaultDocument,
    parts: tuple[object, ...],
    content: dict[str, Any],
) -> None:
    as_root(bao, place)(content, *parts)
    reading = {"ids": lambda: store.rows(1, b"", 9), "destroyed": lambda: store.destroyed_after(0)}
    refused(reading[str(parts[0])], DamagedFile, KeysReason.SCHEMA)


def test_a_row_that_somebody_deleted_is_not_made_anew(
    store: VaultContextStore, bao: OpenBao, place: VaultDocument
) -> None:
    store.create([row(1)])
    at = ContextDocuments(place).of_tag(1, row(1).tag or b"")
    bao.client.secrets.kv.v2.delete_latest_version_of_secret(at.path, mount_point=at.mount)
    for action in (
        lambda: store.find(1, [row(1).tag or b""]),
        lambda: store.find_ids([row(1).key_id]),
        lambda: store.create([replace(row(2), tag=row(1).tag)]),
    ):
        refused(action, DamagedFile, KeysReason.SCHEMA)


def test_an_engine_that_deletes_by_itself_keeps_no_key(bao: OpenBao, connection: VaultConnection) -> None:
    store = VaultContextStore(connection, VaultDocument("secret", "fleeting"))
    bao.client.secrets.kv.v2.configure(delete_version_after="1h", mount_point="secret")
    try:
        unavailable(lambda: store.create([row(1)]))
    finally:
        bao.client.secrets.kv.v2.configure(delete_version_after="0s", mount_point="secret")
    unavailable(lambda: store.find_ids([row(1).key_id]))
    # and where a document says so itself
    store.create([row(2)])
    at = ContextDocuments(VaultDocument("secret", "fleeting")).of_tag(1, row(2).tag or b"")
    kv = bao.client.secrets.kv.v2
    kv.update_metadata(at.path, delete_version_after="1h", mount_point=at.mount)
    unavailable(lambda: store.replace(row(2), replace(row(2), shred_after=NOW)))
    unavailable(lambda: store.find(1, [row(2).tag or b""]))


def test_a_token_without_rights_is_as_a_store_that_is_away(
    bao: OpenBao, store: VaultContextStore, place: VaultDocument
) -> None:
    allowed = f'path "secret/data/{place.path}/store" {{ capabilities = ["read"] }}'
    limited = VaultContextStore(connect(bao.address, make_token(bao, allowed)), place)
    for action in (
        lambda: limited.find(1, [b"\1" * 16]),
        lambda: limited.find_ids([b"\1" * 16]),
        lambda: limited.create([row(1)]),
        lambda: limited.destroyed_after(-1),
        lambda: limited.rows(1, b"", 1),
        lambda: limited.count(1),
    ):
        unavailable(action)
    assert store.rows(1, b"", 1) == []


def test_a_wrong_mount_and_an_old_engine_are_refused(bao: OpenBao, connection: VaultConnection) -> None:
    bao.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    for mount in ("elsewhere", "kv1"):
        document = VaultDocument(mount, "contexts")
        # also where it may be away: this is an answer
        refused(
            partial(VaultContextStore, connection, document, may_be_away=True),
            *(KeySettingError, KeysReason.VAULT_PATH),
        )
    refused(
        lambda: VaultContextStore(connection, VaultDocument("secret", "a/../b")),
        KeySettingError,
        KeysReason.VAULT_SETTING,
    )


def test_one_without_rights_is_refused(bao: OpenBao, place: VaultDocument) -> None:
    nothing = connect(bao.address, make_token(bao, 'path "other" { capabilities = ["read"] }'))
    with pytest.raises(KekDenied) as caught:
        VaultContextStore(nothing, place, may_be_away=True)
    assert caught.value.__cause__ is None


def test_one_that_may_be_away_is_opened_by_its_first_use(
    bao: OpenBao, place: VaultDocument, connection: VaultConnection
) -> None:
    with limited_rate(bao):
        store = VaultContextStore(connection, place, may_be_away=True)
        unavailable(lambda: store.find(1, [b"\1" * 16]))
    assert store.create([row(1)]) == [row(1)]
    # one that is being filled as well, and one that was left never
    assert store.set_mark(None, StoreMark(MarkKind.ARRIVING, "contexts.db"))
    early = VaultContextStore(connection, place, may_be_away=True)
    unavailable(lambda: early.find(1, [row(1).tag or b""]))
    assert store.set_mark(store.mark(), None)
    assert early.find(1, [row(1).tag or b""]) == [row(1)]


@contextmanager
def limited_rate(bao: OpenBao) -> Iterator[None]:
    bao.client.write_data("sys/quotas/rate-limit/few", data={"rate": 0.001, "path": "secret/"})
    try:
        yield
    finally:
        bao.client.delete("sys/quotas/rate-limit/few")


def test_a_limited_rate_is_a_store_that_does_not_answer(bao: OpenBao, store: VaultContextStore) -> None:
    with limited_rate(bao):
        unavailable(lambda: store.find(1, [bytes([number]) * 16 for number in range(8)]))
    assert store.find(1, [b"\1" * 16]) == []


def test_a_server_that_is_sealed_or_down_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    with raft_server(tmp_path) as server:
        enable_kv(server.client)
        connected = connect(server.address, server.root_token, ca=str(server.ca))
        store = VaultContextStore(connected, VaultDocument("secret", "contexts"))
        store.create([row(1)])
        server.seal()
        unavailable(lambda: store.find(1, [b"\1" * 16]))
        unavailable(lambda: store.create([row(2)]))
        server.stop()
        unavailable(lambda: store.destroyed_after(0))
        server.start()
        server.unseal()
        assert store.find(1, [b"\1" * 16]) == [row(1)]
        assert b64encode(row(1).wrapped or b"").decode() not in server.audit_log.read_text(encoding="utf-8")


class Answer(BaseHTTPRequestHandler):
    """Answers everything alike."""

    status = 200
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


@rows(
    "status, body",
    (500, b'{"errors": ["internal error"]}'),
    (502, b"<html>"),
    (429, b'{"errors": []}'),
    (200, b"<html>"),
    (200, b"[]"),
    (200, b'{"data": {"data": {"format": 1}, "metadata": {"version": "first"}}}'),
    (302, b""),
)
def test_what_is_not_vault_s_answer_is_a_store_that_does_not_answer(
    status: int, body: bytes, place: VaultDocument
) -> None:
    handler = type("Handler", (Answer,), {"status": status, "body": body})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connected = connect(f"http://127.0.0.1:{server.server_port}", "none")
        unavailable(lambda: VaultContextStore(connected, place))
        server.shutdown()


def test_a_server_that_says_nothing_is_given_up(place: VaultDocument) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        connected = connect(address, "none", timeout_s="0.3", deadline_s="0.5")
        unavailable(lambda: VaultContextStore(connected, place))


def test_who_asks_right_after_a_time_out_does_not_wait_for_another(
    bao: OpenBao, place: VaultDocument
) -> None:
    now = [0.0]
    connected = connect(bao.address, bao.root_token, timeout_s="2", deadline_s="2")
    store = VaultContextStore(connected, place, clock=lambda: now[-1])
    asked: list[float] = []

    def silent(*_: object) -> None:
        asked.append(now[-1])
        time.sleep(2.2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ContextDocuments, "standing", silent)
        for second in (1.0, 1.9, 2.1):
            now.append(second)
            unavailable(lambda: store.find(1, [b"\1" * 16]))
            time.sleep(0.5)
    assert asked == [1.0, 2.1]
    now.append(4.0)
    assert store.find(1, [b"\1" * 16]) == []


def test_a_server_that_is_not_there_is_unavailable(place: VaultDocument) -> None:
    connected = connect(f"http://127.0.0.1:{free_port()}", "none")
    unavailable(lambda: VaultContextStore(connected, place))


def test_the_rights_on_the_page_suffice_and_a_proxy_s_destroy_nothing(
    bao: OpenBao, place: VaultDocument
) -> None:
    proxy, operator = (
        connect(bao.address, make_token(bao, documented_policy(name, place.path), name=name))
        for name in ("sealwire-contexts", "sealwire-contexts-operator")
    )
    store = VaultContextStore(proxy, place)
    assert store.create([row(1), row(2)]) == [row(1), row(2)]
    assert store.create([replace(row(3), tag=row(1).tag)]) == [row(1)]
    assert store.find_ids([row(1).key_id]) == store.find(1, [row(1).tag or b""]) == [row(1)]
    mark, _ = store.destroyed_after(-1)
    unavailable(lambda: store.replace(row(1), destroyed(row(1))))
    unavailable(lambda: store.rows(1, b"", 9))
    with_more = VaultContextStore(operator, place, create=False)
    assert with_more.rows(1, b"", 9) == [row(1), row(2)]
    assert with_more.replace(row(2), replace(row(2), wrapped=b"anew", wrap_version=2))
    gone = shredded(with_more, row(1))
    assert with_more.has_bytes(row(1).wrapped or b"") is None
    assert (with_more.count(1).live, with_more.count(1).destroyed) == (1, 1)
    assert store.destroyed_after(mark)[1] == [row(1).key_id]
    shredding.readmit(with_more, gone)
    assert store.find_ids([row(1).key_id]) == [replace(gone, tag=None)]
    made = replace(row(4), tag=row(1).tag)
    assert store.create([made]) == [made]


def test_it_says_where_it_is_and_shows_no_more(store: VaultContextStore, place: VaultDocument) -> None:
    assert str(store) == str(place)
    assert repr(store) == f"VaultContextStore('{place}')"
    store.close()
