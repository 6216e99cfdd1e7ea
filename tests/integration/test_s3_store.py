"""Backups in a bucket: the same promises as in a directory, against moto's server."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from sealwire.cli import main
from sealwire.sidecars.backup.keeping.catalog import LEFTOVER_AGE, RetentionPolicy, plan_prune, prune
from sealwire.sidecars.backup.keeping.verification import reencrypt, rewrap, verify_backup
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores import s3_store
from sealwire.sidecars.backup.stores.local_store import open_store
from sealwire.sidecars.backup.stores.s3_store import S3Store
from sealwire.sidecars.backup.stores.store import Store, read_small
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, Unavailable, Unusable
from tests.keys.samples import KEK_A, KEK_B, NOW
from tests.sidecars.backup.samples import KEK, OTHER_KEK, seal
from tests.sidecars.backup.stores.store_contract import KEY, StoreContract
from tests.support.reasons import raising

pytestmark = pytest.mark.integration

Run = Callable[..., Any]

BUCKET = "clinic-backups"
TOMORROW = timedelta(days=1)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def settings(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """boto3's settings, and an end to the connections that its clients keep."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it would remember credentials
    clients = []
    create = boto3.client

    def create_and_note(*arguments: str) -> Any:
        clients.append(create(*arguments))
        return clients[-1]

    monkeypatch.setattr(boto3, "client", create_and_note)
    yield
    for client in clients:
        client.close()


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty bucket, and nothing left in it that costs."""
    bucket = boto3.resource("s3").Bucket(BUCKET)
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-2"})
    yield open_store(f"s3://{BUCKET}/mongodb")
    for upload in bucket.multipart_uploads.all():
        upload.abort()
    bucket.objects.all().delete()
    bucket.delete()
    bucket.meta.client.close()


class TestS3Store(StoreContract):
    pass


def test_a_backup_of_many_parts_comes_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 << 20)
    upload = store.begin(KEY)
    piece = bytes(range(256)) * 4096
    for _ in range(13):
        upload.write(piece)
    upload.commit()
    assert store.objects()[0].size == 13 << 20
    with closing(store.open(KEY)) as stream:
        assert all(stream.read(1 << 20) == piece for _ in range(13))
        assert stream.read(1) == b""


def test_a_name_that_is_taken_meanwhile_is_not_overwritten(store: Store) -> None:
    first, second = store.begin(KEY), store.begin(KEY)
    first.write(b"first")
    second.write(b"second")
    first.commit()
    with pytest.raises(CannotCreate):
        second.commit()
    second.abort()
    assert read_small(store, KEY, 10) == b"first"
    assert store.leftovers(datetime.now(UTC) + TOMORROW) == []


def test_what_a_dead_writer_left_is_found_and_removed(store: Store) -> None:
    upload = store.begin(KEY)
    upload.write(bytes(s3_store.PART_BYTES))
    assert store.objects() == []
    plan = plan_prune(store, RetentionPolicy(last=1), datetime.now(UTC) + 2 * LEFTOVER_AGE)
    assert len(plan.leftovers) == 1
    prune(store, plan)
    assert store.leftovers(datetime.now(UTC) + TOMORROW) == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(store: Store) -> None:
    upload = store.begin(KEY)
    upload.write(b"0123456789")
    upload.commit()
    assert isinstance(store, S3Store)
    with closing(store.open(KEY)) as stream:
        assert stream.read(4) == b"0123"
        stream.close()
        assert stream.read(10) == b"456789"


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(store: Store) -> None:
    store.replace_small(KEY, b"0123456789")
    assert isinstance(store, S3Store)
    with closing(store.open(KEY)) as stream:
        assert stream.read(4) == b"0123"
        stream.close()
        store.replace_small(KEY, b"abcdefghij")
        with pytest.raises((Unavailable, CannotCreate)):
            stream.read(4)


def test_the_life_of_a_backup(store: Store) -> None:
    seal(store)
    assert verify_backup(store, "b", [KEK], NOW).recorded
    rewrap(store, "b", [KEK], [OTHER_KEK])
    assert reencrypt(store, "b", [OTHER_KEK], [KEK]).name == "b-r1"
    assert verify_backup(store, "b-r1", [KEK], NOW).recorded
    assert [item.key for item in store.objects()] == ["b-r1.tar.gz.enc", "b-r1.tar.gz.enc.json"]


def test_a_writer_that_gives_up_leaves_nothing(store: Store) -> None:
    with create_backup(store, "b", [KEK]) as writer:
        writer.write(bytes(100))
    assert store.objects() == []
    assert store.leftovers(datetime.now(UTC) + TOMORROW) == []


def test_a_bucket_that_is_not_there_is_missing() -> None:
    with pytest.raises(Missing):
        open_store("s3://no-such-bucket").objects()


def test_a_server_that_is_gone_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    with raising(Unavailable, BackupReason.STORE_UNREACHABLE):
        open_store("s3://bucket").objects()


def test_credentials_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with raising(Unavailable, BackupReason.STORE_DENIED):
        open_store("s3://bucket").objects()


def test_settings_that_boto3_does_not_take_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with raising(Unusable, BackupReason.ADDRESS):
        open_store("s3://bucket")


def test_more_parts_than_s3_takes_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(s3_store, "MAX_PARTS", 1)
    upload = store.begin(KEY)
    with raising(Unavailable, BackupReason.TOO_LARGE):
        upload.write(bytes(10 << 20))
    upload.abort()


@pytest.mark.parametrize("address", ["s3://", "s3://user:password@host", "http://host/bucket"])
def test_addresses_that_are_none_are_refused_and_not_shown(address: str) -> None:
    with raising(Unusable, BackupReason.ADDRESS) as caught:
        open_store(address)
    assert "password" not in str(caught.value) + caught.value.hint


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command on the bucket, as an operator types it; its JSON."""
    monkeypatch.setenv("SEALWIRE_BACKUP_STORE", f"s3://{BUCKET}/mongodb")
    monkeypatch.setenv("OLD_KEK", base64.b64encode(KEK_A).decode())
    monkeypatch.setenv("NEW_KEK", base64.b64encode(KEK_B).decode())

    def run(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["sealwire", "backup", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert (ended.value.code or 0) == code
        shown = capsys.readouterr()
        assert code == 0 or "sealwire: hint:" in shown.err
        return json.loads(shown.out) if shown.out else None

    return run


def test_the_commands_work_on_a_bucket_as_on_a_directory(store: Store, run: Run, tmp_path: Path) -> None:
    seal(store, "old")
    seal(store, "new")
    old, new = ("--key", "env:OLD_KEK"), ("--key", "env:NEW_KEK")
    assert [row["name"] for row in run("verify", *old)["sound"]] == ["new", "old"]
    assert (
        run("rekey", "--reencrypt", "new", *old, "--recipient", "env:NEW_KEK")["backups"][0]["name"]
        == "new-r1"
    )
    run("verify", "new-r1", *old, code=77)
    assert run("unpack", "new-r1", str(tmp_path / "dump"), *new)["files"] > 0
    assert {row["name"] for row in run("list")["backups"]} == {"new-r1", "old"}
    assert run("prune", "--keep-last", "1", "--dry-run")["removed"] == ["new-r1"]
    assert run("prune", "--keep-last", "1")["removed"] == ["new-r1"]
    run("verify", "new-r1", *new, code=66)
