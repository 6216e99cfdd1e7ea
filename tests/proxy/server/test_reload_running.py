"""SIGHUP to a proxy before a real server: what is stored and read before and after it."""

import json
import logging
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pymongo import MongoClient
from pymongo.collection import Collection

from sealwire.files.errors import SourceError
from sealwire.keys.errors import DamagedFile, KekUnavailable, KeysReason
from sealwire.keys.keyring.data_key import generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.settings import Limits, ListenTls, TlsMode, UpstreamTls
from sealwire.proxy.server.errors import FileProblem, PermissionProblem, StartReason
from sealwire.proxy.server.tls import TLS12_SUITES, listen_side, upstream_side
from sealwire.proxy.session.choices import Reveal
from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.database import DatabaseProcess
from tests.proxy.server.harness import (
    BROKEN,
    NEW_CLASS,
    POLICY,
    Place,
    client_of,
    covers,
    edited,
    policy_info,
    records,
    reloaded,
    until,
)
from tests.proxy.server.harness import REFUSED as SAID_REFUSED
from tests.proxy.server.harness import WIDER as WIDER_POLICY
from tests.proxy.server.harness import shown as shown_in
from tests.proxy.server.site import Running, Site, make_site, readiness, serving
from tests.proxy.server.tls_contexts import serving as serving_tls
from tests.support import warm
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.support.secantus import secantus

Document = dict[str, Any]

WIDER = POLICY + b"    phone: nhs_number\n"
ACCEPTED = WIDER.replace(b"type: string}", b"type: string, accept_plaintext: true}")
"""The same, where values of the field may be stored in clear."""
WITH_NOTES = POLICY.replace(b"collections:", b"  notes: {mode: random}\ncollections:") + b"    notes: notes\n"
REFUSED = "reload refused, nothing changed"
LOADED = "certificates loaded"
"""The last line of a reload."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("database")) as process:
        yield process


@pytest.fixture
def raw(database: DatabaseProcess) -> Iterator[Collection[Document]]:
    """The patients as they are stored; none at first."""
    with database.connect() as client:
        client.clinic.patients.drop()
        yield client.clinic.patients


@pytest.fixture
def site(tmp_path: Path, database: DatabaseProcess) -> Site:
    site = make_site(tmp_path, int(database.address.rpartition(":")[2]))
    site.config["listen"]["tls"] = {"mode": "plaintext"}
    site.config["upstream"]["access_control"] = "none"
    return site


def connect(proxy: Running) -> MongoClient[Document]:
    return MongoClient(*proxy.address, directConnection=True, maxPoolSize=1)


def reload(site: Site, proxy: Running, policy: bytes, outcome: str = LOADED) -> dict[str, Any]:
    """Put a policy in place, as an operator should, and wait for what the log says."""
    fresh = site.folder / "policy.new"
    fresh.write_bytes(policy)
    fresh.rename(site.folder / "policy.yaml")
    proxy.process.send_signal(signal.SIGHUP)
    return next(line for line in proxy.said if line["event"] in (outcome, LOADED, REFUSED))


def shown(policy: bytes) -> str:
    return sha256(policy).hexdigest()[:12]


@pytest.mark.integration
def test_a_new_field_is_ciphertext_from_the_reload_on(site: Site, raw: Collection[Document]) -> None:
    with serving(site) as proxy, connect(proxy) as client:
        patients = client.clinic.patients
        patients.insert_one({"_id": 1, "nhs_number": "1", "phone": "0151"})
        assert reload(site, proxy, WIDER)["event"] == REFUSED
        assert reload(site, proxy, ACCEPTED)["event"] == LOADED
        patients.insert_one({"_id": 2, "nhs_number": "2", "phone": "0152"})
        assert patients.find_one({"phone": "0152"}, {"_id": 0, "phone": 1}) == {"phone": "0152"}
        assert readiness(proxy)["policy"] == shown(ACCEPTED)
    stored = {document["_id"]: document["phone"] for document in raw.find()}
    assert stored[1] == "0151"
    assert isinstance(stored[2], Binary)
    assert stored[2].subtype == 0x80


@pytest.mark.integration
def test_a_new_class_needs_its_key_first(site: Site, raw: Collection[Document]) -> None:
    with serving(site) as proxy, connect(proxy) as client:
        refused = reload(site, proxy, WITH_NOTES)
        assert refused["event"] == REFUSED
        assert "notes" in refused["problem"]
        assert readiness(proxy)["policy"] == shown(POLICY)
        keys = [
            "keys",
            "create",
            "--keyring",
            str(site.keyring),
            "--policy",
            str(site.folder / "policy.yaml"),
        ]
        warm.run([sys.executable, "-m", "sealwire", *keys], env=site.environ, check=True, capture_output=True)
        assert reload(site, proxy, WITH_NOTES)["event"] == LOADED
        client.clinic.patients.insert_one({"_id": 1, "notes": "private"})
        assert client.clinic.patients.find_one() == {"_id": 1, "notes": "private"}
    stored = raw.find_one()
    assert stored is not None
    assert isinstance(stored["notes"], Binary)


@pytest.mark.integration
def test_what_comes_during_the_start_is_neither_lost_nor_the_end(site: Site) -> None:
    while not (events := _events_of_a_start_with_a_signal(site)):
        pass  # this test had no processor while that one had the signal blocked
    assert events.count("policy loaded") == 2
    assert events.count("ready") == 1


def _events_of_a_start_with_a_signal(site: Site) -> list[str]:
    """What is logged up to a reload that was asked for early; nothing where it was no longer early."""
    process = warm.WarmProcess(site.command(), env=site.environ, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        with process.stderr:
            if not _blocks_the_signal(process):
                return []
            process.send_signal(signal.SIGHUP)
            return [json.loads(line)["event"] for line in _until_reloaded(process.stderr)]
    finally:
        process.kill()
        process.wait()


def _blocks_the_signal(process: "subprocess.Popen[str]") -> bool:
    """Once it blocks SIGHUP; False once it catches that."""
    status, bit = Path(f"/proc/{process.pid}/status"), 1 << signal.SIGHUP - 1
    while True:
        assert process.poll() is None
        text = status.read_text()
        # only SIGHUP: the C library blocks all signals for a moment while it makes a thread
        if _signals(text, "SigBlk") == bit:
            return True
        if _signals(text, "SigCgt") & bit:
            return False


def _signals(status: str, name: str) -> int:
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith(name))


def _until_reloaded(lines: Any) -> Iterator[str]:
    for line in lines:
        yield line
        if json.loads(line)["event"] == LOADED:
            return


# ----------------------------------------------------------------------------------------------------
# A reload of what is wrong changes nothing, and says so once.


def place_broken(place: Place) -> None:
    place.write(BROKEN)


def place_without_a_policy(place: Place) -> None:
    place.config.policy.unlink()


def place_with_a_pipe(place: Place) -> None:
    place.config.policy.unlink()
    os.mkfifo(place.config.policy)


def place_with_a_new_class(place: Place) -> None:
    place.write(NEW_CLASS)


def place_without_its_certificate(place: Place) -> None:
    place.write(WIDER_POLICY)
    place.change(listen_tls=ListenTls(TlsMode.TLS, Path("/nowhere.crt")))


def place_with_a_damaged_keyring(place: Place) -> None:
    def load() -> Keyring:
        raise DamagedFile(KeysReason.TAMPERED, "the keyring was altered", "restore it")

    place.write(WIDER_POLICY)
    place.load = load


def place_that_fails_without_reason(place: Place) -> None:
    def fail() -> None:
        raise ValueError("9434765919")

    place.write(WIDER_POLICY)
    place.on_read = fail


def place_that_is_being_written(place: Place) -> None:
    def write() -> None:
        if place.reads == 2:
            place.write(WIDER_POLICY)

    place.write(POLICY + b"    phone: nhs_number\n    email: nhs_number\n")
    place.on_read = write


def place_whose_configuration_changes_meanwhile(place: Place) -> None:
    def write() -> None:
        if place.reads == 2:
            place.change(reveal=Reveal.EVERYWHERE)

    place.write(WIDER_POLICY)
    place.on_read = write


@pytest.mark.integration
@rows(
    "harm",
    place_broken,
    place_without_a_policy,
    place_with_a_pipe,
    place_with_a_new_class,
    place_without_its_certificate,
    place_with_a_damaged_keyring,
    place_that_fails_without_reason,
    place_that_is_being_written,
    place_whose_configuration_changes_meanwhile,
)
async def test_what_is_wrong_changes_nothing_and_is_said_once(
    tmp_path: Path, harm: Callable[[Place], None], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with edited(tmp_path) as (place, sessions, proxy), client_of(proxy):
            await until(lambda: bool(sessions.made))
            limits = proxy.services.limits
            place.change(limits=Limits(7))
            harm(place)
            await reloaded(proxy, result="failed")
            assert len(sessions.made[0].settings) == 1
            assert proxy.services.limits == limits
            assert proxy.health.policies == (shown_in(POLICY),)
            assert policy_info(proxy) == {shown_in(POLICY): 1.0}
            # and when it is mended, it counts
            place.on_read = place.load = None
            place.change(listen_tls=ListenTls(TlsMode.PLAINTEXT))
            place.config.policy.unlink(missing_ok=True)
            place.write(WIDER_POLICY)
            await reloaded(proxy)
            assert covers(sessions.made[0].settings[-1], b"phone")
            assert proxy.services.limits == Limits(7)
    said = [record for record in caplog.records if record.getMessage() == SAID_REFUSED]
    bugs = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(said) + len(bugs) == 1
    assert bool(bugs) is (harm is place_that_fails_without_reason)
    assert all(record.__dict__["fields"]["hint"] for record in said)
    assert "9434765919" not in "".join(record.getMessage() for record in caplog.records)


@pytest.mark.integration
async def test_each_error_has_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with edited(tmp_path) as (place, _, proxy):
        place.write(BROKEN + b"extra: 1\n")
        await reloaded(proxy, result="failed")
    said = [
        line["problem"].removeprefix(f"{tmp_path / 'policy.yaml'}:") for line in records(caplog, SAID_REFUSED)
    ]
    assert [place.partition(": ")[0] for place in said] == ["6:17", "7:1"]


@pytest.mark.integration
async def test_a_configuration_that_cannot_be_read_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise SourceError("sealwire.yaml", 3, 7, "unknown key 'lisen'", "did you mean 'listen'?")

    async with edited(tmp_path) as (place, _, proxy):
        place.on_read = fail
        await reloaded(proxy, result="failed")
    (said,) = records(caplog, SAID_REFUSED)
    assert said == {"problem": "sealwire.yaml:3:7: unknown key 'lisen'", "hint": "did you mean 'listen'?"}


@pytest.mark.integration
async def test_a_new_class_counts_once_its_key_is_there(tmp_path: Path) -> None:
    async with edited(tmp_path) as (place, _, proxy):
        place.write(NEW_CLASS)
        await reloaded(proxy, result="failed")
        created = datetime(2026, 1, 1, tzinfo=UTC)
        names = ("nhs_number", "notes")
        place.keyring = Keyring(
            generate_data_key(name, number, 1, created) for number, name in enumerate(names, 1)
        )
        await reloaded(proxy)
        assert "notes" in proxy.shared.settings.policy.classes


@pytest.mark.integration
async def test_a_provider_that_is_away_does_not_hold_up_certificates(tmp_path: Path) -> None:
    def away() -> Keyring:
        raise KekUnavailable(KeysReason.KEK_UNREACHABLE, "no answer", "start it")

    async with edited(tmp_path) as (place, _, proxy):
        await reloaded(proxy)  # brings the keys in: the harness starts without any
        place.load = away
        place.write(WIDER_POLICY)
        await reloaded(proxy)
        assert covers(proxy.shared.settings, b"phone")
        place.write(NEW_CLASS)
        await reloaded(proxy, result="failed")


# ----------------------------------------------------------------------------------------------------
# Certificates, keys and authorities as files: what is wrong with them is said before anything listens.


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "authority")


def mismatch(issued: Issued, authority: Authority) -> None:
    authority.issue("other").key.replace(issued.key)


def not_pem(issued: Issued, _: Authority) -> None:
    issued.certificate.write_text("-----BEGIN NONSENSE-----")


def key_not_pem(issued: Issued, _: Authority) -> None:
    issued.key.write_text("-----BEGIN NONSENSE-----")


def no_certificate(issued: Issued, _: Authority) -> None:
    issued.certificate.unlink()


def no_key(issued: Issued, _: Authority) -> None:
    issued.key.unlink()


def encrypted_key(issued: Issued, _: Authority) -> None:
    key = load_pem_private_key(issued.key.read_bytes(), None)
    protection = BestAvailableEncryption(b"passphrase")
    issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))


@rows(
    "damage, reason",
    (mismatch, StartReason.KEY_MISMATCH),
    (not_pem, StartReason.BAD_PEM),
    (key_not_pem, StartReason.BAD_PEM),
    (no_certificate, StartReason.FILE_MISSING),
    (no_key, StartReason.FILE_MISSING),
    (encrypted_key, StartReason.KEY_ENCRYPTED),
)
def test_what_is_wrong_with_a_certificate_or_key_is_said(
    authority: Authority, damage: Callable[[Issued, Authority], None], reason: StartReason
) -> None:
    issued = authority.issue("proxy")
    damage(issued, authority)
    with raising(FileProblem, reason) as caught:
        listen_side(serving_tls(issued))
    assert caught.value.hint


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610])
def test_a_private_key_that_others_can_reach_is_refused(authority: Authority, mode: int) -> None:
    issued = authority.issue("proxy")
    issued.key.chmod(mode)
    with raising(PermissionProblem, StartReason.KEY_EXPOSED):
        listen_side(serving_tls(issued))


@rows("content", "", "no authority", "\u00e9", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")
def test_an_authority_file_without_authorities_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(content)
    with raising(FileProblem, StartReason.BAD_PEM):
        upstream_side(UpstreamTls(TlsMode.TLS, file))


def test_certificate_and_key_may_stand_in_one_file(authority: Authority) -> None:
    issued = authority.issue("proxy")
    assert listen_side(ListenTls(TlsMode.TLS, issued.combined)).context is not None


def test_without_an_authority_file_the_systems_store_is_trusted_and_names_are_verified() -> None:
    context = upstream_side(UpstreamTls(TlsMode.TLS)).context
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_tls_1_3_can_be_demanded(authority: Authority) -> None:
    side = listen_side(serving_tls(authority.issue("proxy"), minimum=ssl.TLSVersion.TLSv1_3))
    assert side.context is not None
    assert side.context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_every_suite_of_tls_1_2_is_ephemeral_and_authenticated() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers(TLS12_SUITES)
    suites = [suite for suite in context.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    assert suites
    assert all(suite["aead"] and suite["name"].startswith("ECDHE-") for suite in suites)


def days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


@pytest.mark.parametrize(("ends", "is_warned_of"), [(5, True), (90, False)])
def test_a_certificate_near_its_end_is_warned_of(
    authority: Authority, ends: int, *, is_warned_of: bool
) -> None:
    side = listen_side(serving_tls(authority.issue("proxy", valid_until=days(ends))))
    assert side.not_after is not None
    assert bool(side.warning) is is_warned_of
    assert not side.authority_warning


OUT_OF_TIME = [(-9, -1, StartReason.CERTIFICATE_EXPIRED), (1, 90, StartReason.CERTIFICATE_NOT_YET_VALID)]


@pytest.mark.parametrize(("starts", "ends", "reason"), OUT_OF_TIME)
def test_a_certificate_out_of_its_time_is_refused_on_both_sides(
    authority: Authority, starts: int, ends: int, reason: StartReason
) -> None:
    issued = authority.issue("proxy", valid_from=days(starts), valid_until=days(ends))
    inner = UpstreamTls(TlsMode.TLS, authority.certificate_file, issued.certificate, issued.key)
    for load in (partial(listen_side, serving_tls(issued)), partial(upstream_side, inner)):
        with raising(FileProblem, reason) as caught:
            load()
        assert str(issued.certificate) in str(caught.value)
        assert caught.value.hint


def bundle(authority: Authority, *lives: tuple[int, int]) -> Path:
    file = authority.folder / "bundle.crt"
    issued = [
        authority.issue(f"ca{number}", valid_from=days(starts), valid_until=days(ends))
        for number, (starts, ends) in enumerate(lives)
    ]
    file.write_bytes(b"".join(each.certificate.read_bytes() for each in issued))
    return file


@pytest.mark.parametrize(("starts", "ends", "reason"), OUT_OF_TIME)
def test_authorities_of_which_none_is_valid_are_refused_on_both_sides(
    authority: Authority, starts: int, ends: int, reason: StartReason
) -> None:
    file, issued = bundle(authority, (starts, ends - 1), (starts, ends)), authority.issue("proxy")
    outer, inner = serving_tls(issued, client_ca=file), UpstreamTls(TlsMode.TLS, file)
    for load in (partial(listen_side, outer), partial(upstream_side, inner)):
        with raising(FileProblem, reason) as caught:
            load()
        assert str(file) in str(caught.value)


@rows(
    "lives, word",
    (((-9, -1), (-1, 90)), "expired"),
    (((-1, 5), (-1, 6)), "soon"),
    (((-1, 5), (-1, 90)), ""),
    (((-1, 5), (1, 90)), "soon"),
)
def test_authorities_near_their_end_or_past_it_are_warned_of(
    authority: Authority, lives: tuple[tuple[int, int], ...], word: str
) -> None:
    file, issued = bundle(authority, *lives), authority.issue("proxy")
    outer, inner = (
        listen_side(serving_tls(issued, client_ca=file)),
        upstream_side(UpstreamTls(TlsMode.TLS, file)),
    )
    for side in (outer, inner):
        assert word in side.authority_warning
        assert bool(word) is bool(side.authority_warning)
