"""SIGHUP to a proxy before a real server: what is stored and read before and after it."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.collection import Collection

from sealwire.testbed.database import DatabaseProcess
from tests.proxy.server.harness import DEADLINE_S, POLICY
from tests.proxy.server.site import Running, Site, make_site, serving
from tests.support import warm
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

Document = dict[str, Any]

WIDER = POLICY + b"    phone: nhs_number\n"
ACCEPTED = WIDER.replace(b"type: string}", b"type: string, accept_plaintext: true}")
"""The same, where values of the field may be stored in clear."""
WITH_NOTES = POLICY.replace(b"collections:", b"  notes: {mode: random}\ncollections:") + b"    notes: notes\n"
ELSEWHERE = POLICY.replace(b"clinic.patients", b"clinic.doctors")
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


def readiness(proxy: Running) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{proxy.admin}/readyz", timeout=DEADLINE_S) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def shown(policy: bytes) -> str:
    return sha256(policy).hexdigest()[:12]


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


def test_a_broken_policy_changes_nothing(site: Site, raw: Collection[Document]) -> None:
    with serving(site) as proxy, connect(proxy) as client:
        client.clinic.patients.insert_one({"_id": 1, "nhs_number": "1"})
        broken = WIDER.replace(b"phone: nhs_number", b"phone: nhs_numer")
        refused = reload(site, proxy, broken)
        assert refused["event"] == REFUSED
        assert refused["level"] == "error"
        assert refused["problem"].startswith(f"{site.folder / 'policy.yaml'}:7:12: ")
        assert "nhs_number" in refused["hint"]
        assert readiness(proxy)["policy"] == shown(POLICY)
        client.clinic.patients.insert_one({"_id": 2, "nhs_number": "2", "phone": "0152"})
    stored = raw.find_one({"_id": 2})
    assert stored is not None
    assert isinstance(stored["nhs_number"], Binary)
    assert stored["phone"] == "0152"


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


@pytest.mark.parametrize("policy", [WIDER, ELSEWHERE], ids=["wider", "without the collection"])
def test_an_open_cursor_goes_on(site: Site, raw: Collection[Document], policy: bytes) -> None:
    del raw
    with serving(site) as proxy, connect(proxy) as client:
        patients = client.clinic.patients
        patients.insert_many([{"_id": number, "nhs_number": str(number)} for number in range(6)])
        with patients.find(batch_size=2).sort("_id") as cursor:
            read = [next(cursor)["nhs_number"]]
            assert reload(site, proxy, policy)["event"] == LOADED
            read += [document["nhs_number"] for document in cursor]
        assert read == [str(number) for number in range(6)]


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
