"""The database server as a process: real ones, with and without TLS and SCRAM."""

import itertools
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from sealwire.keys.frontier.record import DATABASE, LEASES, STANDS, counted_names, place_of
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed import database
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, first_move, vouch_for_leases
from sealwire.testbed.errors import TestbedError, TestbedReason
from sealwire.testbed.mongo_server import User, connection_string
from tests.support.reasons import raising
from tests.support.secantus import CLINIC, ROOT, USERS, secantus
from tests.support.short_transactions import PARAMETER


def test_a_connection_string_escapes_user_and_names_the_authority() -> None:
    uri = connection_string("h:1", User("a@b", "p/q:r%"), "clinic", authority=Path("/tls/authority.crt"))
    assert uri == (
        "mongodb://a%40b:p%2Fq%3Ar%25@h:1/clinic?authSource=admin&authMechanism=SCRAM-SHA-256"
        "&tls=true&tlsCAFile=/tls/authority.crt"
    )
    assert connection_string("h:1", None, "", authority=None) == "mongodb://h:1/"


def test_a_users_repr_hides_the_password() -> None:
    assert "secret" not in repr(User("clinic", "secret"))


def test_a_missing_server_program_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with raising(TestbedError, TestbedReason.PROGRAM_MISSING) as caught:
        database.server_program()
    assert "pip install" in caught.value.hint


@pytest.mark.integration
def test_a_server_that_ends_at_once_is_reported_after_three_ports(tmp_path: Path) -> None:
    storage = tmp_path / "database"
    storage.write_text("a file where the folder should be")
    process = DatabaseProcess(DatabaseOptions(storage))
    with raising(TestbedError, TestbedReason.DIED):
        process.start()


@pytest.mark.integration
def test_with_scram_only_known_users_get_in(tmp_path: Path) -> None:
    with secantus(tmp_path, users=USERS) as server:
        with server.connect(CLINIC) as client:
            client.clinic.patients.insert_one({"ward": "renal"})
            assert client.clinic.patients.count_documents({}) == 1
        with server.connect(ROOT) as client:
            assert "clinic" in client.list_database_names()
        with server.connect() as client, pytest.raises(OperationFailure) as caught:
            client.clinic.patients.find_one()
        assert caught.value.code == 13


@pytest.mark.integration
def test_users_are_made_in_a_new_storage_before_it_is_guarded(tmp_path: Path) -> None:
    process = DatabaseProcess(DatabaseOptions(tmp_path / "database", USERS))
    try:
        process.start()
        with process.connect(CLINIC) as client:
            assert client.clinic.patients.find_one() is None
        with process.connect() as client, pytest.raises(OperationFailure) as caught:
            client.clinic.patients.find_one()
        assert caught.value.code == 13
    finally:
        process.kill()


@pytest.mark.integration
def test_data_and_port_survive_a_stop_and_the_port_a_crash(tmp_path: Path) -> None:
    with secantus(tmp_path) as server:
        port = server.port
        with server.connect() as client:
            client.clinic.patients.insert_one({"ward": "renal"})
        server.stop()
        server.start()
        assert server.port == port
        with server.connect() as client:
            assert client.clinic.patients.count_documents({}) == 1
        server.kill()
        server.start()
        assert server.port == port


@pytest.mark.integration
def test_with_tls_only_a_client_that_trusts_the_authority_gets_in(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "tls")
    with secantus(tmp_path, authority=authority) as server:
        with server.connect() as client:
            assert client.admin.command("hello")["setName"] == "secantus"
        refused: MongoClient[dict[str, object]] = MongoClient(
            server.address, tls=True, serverSelectionTimeoutMS=300, directConnection=True
        )
        with refused as client, pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("hello")


@pytest.mark.integration
def test_with_mutual_tls_a_client_needs_a_certificate(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "tls")
    with secantus(tmp_path, authority=authority, mutual_tls=True, replica_set=False) as server:
        with server.connect() as client:
            assert "setName" not in client.admin.command("hello")
        without: MongoClient[dict[str, object]] = MongoClient(server.uri(), serverSelectionTimeoutMS=300)
        with without as client, pytest.raises(ServerSelectionTimeoutError):
            client.admin.command("hello")


@pytest.mark.integration
def test_a_transaction_ends_at_its_age_also_while_it_is_used(tmp_path: Path) -> None:
    with secantus(tmp_path, transaction_s=1) as server, server.connect() as client:
        said = client.admin.command({"getParameter": 1, PARAMETER: 1})
        assert said[PARAMETER] == 1
        with client.start_session() as session:
            session.start_transaction()
            client.clinic.patients.insert_one({"_id": 1}, session=session)
            uses = (client.clinic.patients.find_one(session=session) for _ in itertools.count())
            with pytest.raises(OperationFailure) as caught:
                all(uses)
            assert caught.value.code == 251
            assert caught.value.has_error_label("TransientTransactionError")
        assert client.clinic.patients.count_documents({}) == 0


@pytest.mark.integration
def test_what_is_said_of_leases_names_their_very_collection_also_once_it_is_another(tmp_path: Path) -> None:
    with secantus(tmp_path) as server, server.connect() as client:
        leases, places = client[DATABASE][LEASES], set()
        for _ in range(2):
            vouch_for_leases(client)
            (said,) = leases.find()
            (listed,) = client[DATABASE].list_collections(filter={"name": LEASES})
            assert (said["_id"], said["place"]) == (STANDS, place_of(listed))
            places.add(said["place"])
            leases.drop()
    assert len(places) == 2


@pytest.mark.integration
def test_a_first_move_waits_for_the_leases_of_all_and_vouches_for_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LEASES_S", 0.2)
    keyring, kek = (
        tmp_path / "keyring.json",
        EnvironmentKek(environ={DEFAULT_VARIABLE: generate_encoded_kek()}),
    )
    made = create_keyring(keyring, kek, ["a"], datetime.now(UTC))
    with secantus(tmp_path) as server, server.connect() as client:
        vouch_for_leases(client)
        leases = client[DATABASE][LEASES]
        with raising(TestbedError, TestbedReason.SILENT):
            first_move(client, 1, keyring)
        told = {"acknowledged": {}, "place": "ward (h:1), process 7"}
        renewed = {"$currentDate": {"renewed": True}, "$set": told}
        leases.update_one({"_id": "lease"}, renewed, upsert=True)
        assert first_move(client, 1, keyring) == ("--proxies", "1")
        said = leases.find_one({"_id": STANDS})
        assert said is not None
        assert set(counted_names(made.cipher_for("a").class_id, 2, ["ward (h:1)"])) <= set(said["counted"])
