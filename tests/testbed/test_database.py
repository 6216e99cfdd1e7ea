"""The database server as a process: real ones, with and without TLS and SCRAM."""

import itertools
import socket
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from sealwire.keys.frontier.record import DATABASE, LEASES, STANDS, counted_names, place_of
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed import child, database
from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.child import LOOPBACK, MAX_HELD, Child, free_port
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


# Child processes end when told, and what they printed can be read.


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def wait_for_output(child: Child, text: str) -> None:
    while text not in child.last_lines():
        assert child.exit_code is None


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "print('one'); print('two'); raise SystemExit(3)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.exit_code == 3
    assert child.last_lines() == "one\ntwo"
    assert child.stop() == 3


def test_stop_ends_it_with_sigterm(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "log"
    )
    wait_for_output(child, "ready")
    assert child.stop() == -15
    assert child.stop() == -15


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.testbed.child.TERMINATE_WITHIN_S", 0.05)
    child = Child([sys.executable, "-c", STUBBORN], tmp_path / "log")
    wait_for_output(child, "ready")
    assert child.stop() == -9


def test_only_the_end_of_long_output_is_shown(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", "for n in range(9000): print(n)"], tmp_path / "log")
    while child.exit_code is None:
        pass
    assert child.last_lines().split() == [str(number) for number in range(8994, 9000)]


def test_a_given_environment_replaces_the_own(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"], tmp_path / "log", {"ONLY": "this"}
    )
    while child.exit_code is None:
        pass
    assert "ONLY" in child.last_lines()
    assert "PATH" not in child.last_lines()


def test_waiting_ends_when_it_answers_or_says_why_not(tmp_path: Path) -> None:
    child = Child(
        [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(60)"], tmp_path / "a"
    )
    child.wait_until(lambda: "ready" in child.last_lines(), "it")
    with pytest.raises(TestbedError) as silent:
        child.wait_until(lambda: False, "it", within_s=0)
    child.stop()
    with pytest.raises(TestbedError) as died:
        child.wait_until(lambda: False, "it")
    assert (silent.value.reason, died.value.reason) == (TestbedReason.SILENT, TestbedReason.DIED)


def test_nobody_else_gets_it_and_a_client_is_refused() -> None:
    port = free_port()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, port))


def test_a_server_has_it_and_has_it_again() -> None:
    port = free_port()
    for _ in range(2):
        with socket.create_server((LOOPBACK, port)), socket.create_connection((LOOPBACK, port)) as client:
            assert client.getpeername() == (LOOPBACK, port)


def test_two_processes_of_one_server_can_share_it() -> None:
    port = free_port()
    with (
        socket.create_server((LOOPBACK, port), reuse_port=True),
        socket.create_server((LOOPBACK, port), reuse_port=True),
    ):
        pass


def test_so_many_are_held_and_no_more() -> None:
    given = [free_port() for _ in range(MAX_HELD + 10)]
    assert len(set(given[-MAX_HELD:])) == MAX_HELD
    assert len(child._held) == MAX_HELD


# The demo's authority: what it signs is accepted where it should be and nowhere else.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "tls")


def loaded(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def verify_host(authority: Authority, certificate: x509.Certificate, host: str) -> None:
    builder = PolicyBuilder().store(Store([loaded(authority.certificate_file)]))
    builder.build_server_verifier(x509.DNSName(host)).verify(certificate, [])


def test_a_server_certificate_is_good_for_its_names_only(authority: Authority) -> None:
    certificate = loaded(authority.issue("database").certificate)
    verify_host(authority, certificate, "localhost")
    with pytest.raises(VerificationError):
        verify_host(authority, certificate, "elsewhere.example")


def test_it_names_the_loopback_addresses(authority: Authority) -> None:
    certificate = loaded(authority.issue("database").certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    now = datetime.now(UTC)
    issued = authority.issue("old", valid_from=now - timedelta(days=9), valid_until=now - timedelta(days=2))
    with pytest.raises(VerificationError):
        verify_host(authority, loaded(issued.certificate), "localhost")


def test_another_authority_does_not_vouch_for_it(authority: Authority, tmp_path: Path) -> None:
    other = create_authority(tmp_path / "other")
    with pytest.raises(VerificationError):
        verify_host(other, loaded(authority.issue("database").certificate), "localhost")


def test_a_client_certificate_is_not_a_servers(authority: Authority) -> None:
    certificate = loaded(authority.issue("clinic", client=True).certificate)
    with pytest.raises(VerificationError):
        verify_host(authority, certificate, "localhost")


def test_keys_are_private_and_fit_their_certificates(authority: Authority) -> None:
    issued = authority.issue("database")
    for file in (issued.key, issued.combined):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        key = load_pem_private_key(file.read_bytes(), None)
        assert key.public_key() == loaded(issued.certificate).public_key()
    assert loaded(issued.combined) == loaded(issued.certificate)


def test_issuing_under_the_same_name_replaces_the_files(authority: Authority) -> None:
    first = loaded(authority.issue("database").certificate)
    second = loaded(authority.issue("database").certificate)
    assert first.serial_number != second.serial_number


def test_the_authoritys_repr_shows_no_key(authority: Authority) -> None:
    assert "Key" not in repr(authority)
