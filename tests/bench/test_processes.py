"""The bench's own servers do what the figures rest on: they answer, and they pass bytes on unchanged."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from bson import encode
from pymongo import MongoClient

from bench.canned_server import CannedReply, save
from bench.recording import make_keyring, read_message, record
from bench.routes import Certificates, start_forwarder, start_server
from sealwire.crypto.envelope import MARKER
from sealwire.demo.certificates import create_authority
from sealwire.demo.database import DatabaseOptions, DatabaseProcess, ServerTls, connection_string
from sealwire.demo.ports import LOOPBACK
from sealwire.keys.environment import generate_encoded_kek
from sealwire.wire.header import parse_header
from sealwire.wire.op_msg import build_op_msg

pytestmark = pytest.mark.integration

ONE = build_op_msg(1, 0, encode({"n": 1}))
BIG = build_op_msg(2, 0, encode({"n": "x" * 300_000}))


@pytest.fixture
def canned_port(tmp_path: Path) -> Iterator[int]:
    replies = [CannedReply(b"find", b"batchSize", BIG), CannedReply(b"find", b"", ONE)]
    save(tmp_path / "recording", replies)
    with start_server("bench.canned_server", tmp_path, [tmp_path / "recording"]) as port:
        yield port


def ask(port: int, request_id: int, command: dict[str, object]) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(build_op_msg(request_id, 0, encode(command)))
        return read_message(connection)


def test_the_canned_server_answers_what_fits_and_names_the_request(canned_port: int) -> None:
    small = ask(canned_port, 77, {"find": "patients", "limit": 1})
    big = ask(canned_port, 78, {"find": "patients", "batchSize": 101})
    assert (parse_header(small).response_to, small[16:]) == (77, ONE[16:])
    assert (parse_header(big).response_to, big[16:]) == (78, BIG[16:])


def test_the_canned_server_hangs_up_on_what_was_not_recorded(canned_port: int) -> None:
    with pytest.raises(EOFError):
        ask(canned_port, 1, {"aggregate": "patients"})


def test_the_forwarder_passes_bytes_both_ways(canned_port: int, tmp_path: Path) -> None:
    with start_forwarder(tmp_path, canned_port) as port:
        request = {"find": "patients", "batchSize": 101, "filter": {"x": "y" * 200_000}}
        assert ask(port, 5, request)[16:] == BIG[16:]


def test_the_forwarder_closes_clients_whose_server_is_gone(tmp_path: Path) -> None:
    with start_forwarder(tmp_path, 1) as port, pytest.raises((EOFError, ConnectionError)):
        ask(port, 5, {"find": "patients"})


def test_the_forwarder_can_end_tls_on_both_sides(tmp_path: Path) -> None:
    authority = create_authority(tmp_path / "tls")
    issued = authority.issue("database")
    certificates = Certificates(
        authority.issue("forwarder"), authority.issue("sealwire"), authority.certificate_file
    )
    tls = ServerTls(issued.certificate, issued.key, authority.certificate_file)
    with ExitStack() as stack:
        database = stack.enter_context(DatabaseProcess(DatabaseOptions(tmp_path / "database", tls=tls)))
        port = stack.enter_context(start_forwarder(tmp_path, database.port, certificates))
        uri = connection_string(f"{LOOPBACK}:{port}", None, "", authority=authority.certificate_file)
        client = stack.enter_context(MongoClient[dict[str, object]](uri, directConnection=True))
        assert client.admin.command("ping")["ok"] == 1


def test_the_second_recording_is_ciphertext_where_the_first_is_not(tmp_path: Path) -> None:
    keyring = make_keyring(tmp_path / "keys", generate_encoded_kek())
    recorded = record(tmp_path, keyring)
    assert set(recorded.requests) == {"find one", "insert one", "find 100", "unprotected find"}
    plain, encrypted = (
        next(canned.reply for canned in replies if canned.needle == b"batchSize")
        for replies in (recorded.plain, recorded.encrypted)
    )
    assert MARKER not in plain
    assert encrypted.count(MARKER) == 400
    assert plain.count(b"nhs_number") == encrypted.count(b"nhs_number") == 100
