"""Bad days: each runbook is followed on the day that it is about, and shows what its commands print."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.faults.scene import small_disk
from tests.integration.outside.chosen import own_server
from tests.support import warm
from tests.support.measuring import measuring
from tests.support.openbao import enable_kv, raft_server
from tests.support.private import private
from tests.support.secantus import secantus
from tests.support.shown_commands import follow, shell
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, own_server("it lets servers and keys fail")]

PAGE = (ROOT / "docs" / "operations" / "runbooks.md").read_text(encoding="utf-8")
POLICY = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  notes: {mode: random}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""
JOURNAL = '#!/bin/sh\nexec cat "$SEALWIRE_TEST_LOG"\n'
VALID_S = 15
"""A proxy has to start with a certificate that then ends."""
NAMES = {"admin": "127.0.0.1:9464", "listen": "sealwire.example:27018", "upstream": "mongo.example:27017"}
"""What the page calls the addresses that the test has."""


@dataclass
class Day:
    """A proxy, its server, and what an operator on the proxy's machine has."""

    proxy: ProxyProcess
    database: DatabaseProcess
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self.proxy.options.folder
        programs = folder / "bin"
        programs.mkdir()
        journal = programs / "journalctl"
        journal.write_text(JOURNAL)
        journal.chmod(0o755)
        path = f"{programs}:{warm.launchers()}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
        self.environ = measuring() | {
            "PATH": path,
            "HOME": str(folder),
            "COLUMNS": "120",
            "SEALWIRE_KEK": self.proxy.options.kek,
            "SEALWIRE_SERVER_URI": self.database.uri(),
            "SEALWIRE_TEST_LOG": str(self.proxy.log),
        }

    def ready(self) -> str:
        return self.run("curl -sS http://127.0.0.1:9464/readyz")

    def run(self, command: str, environ: Mapping[str, str] | None = None) -> str:
        """What a command of the page prints here, with the page's names of addresses."""
        real = self._addresses()
        for name, address in real.items():
            command = command.replace(NAMES[name], address)
        said = shell(self.proxy.options.folder, self.environ if environ is None else environ)(command)
        for name, address in real.items():
            said = said.replace(address, NAMES[name])
        return said

    def follow(self, name: str, **environ: str | None) -> dict[str, str]:
        """Follow the runbook called `name`; None takes a variable out of the environment."""
        both: dict[str, str | None] = {**self.environ, **environ}
        given = {each: value for each, value in both.items() if value is not None}
        return follow(PAGE, name, lambda command: self.run(command, given))

    @contextmanager
    def client(self) -> Iterator[MongoClient[Any]]:
        with MongoClient[Any](self.proxy.uri(), serverSelectionTimeoutMS=2000, retryWrites=False) as client:
            yield client

    def _addresses(self) -> dict[str, str]:
        admin = f"127.0.0.1:{self.proxy.admin_port}"
        return {"admin": admin, "listen": self.proxy.address, "upstream": self.database.address}


@contextmanager
def proxy_before(database: DatabaseProcess, etc: Path, **options: Any) -> Iterator[Day]:
    """A proxy before a server; its files are in `etc`."""
    etc.mkdir(exist_ok=True)
    policy = etc / "policy.yaml"
    policy.write_text(POLICY)
    chosen = ProxyOptions(etc, policy, database.address, access_control=False, **options)
    with ProxyProcess(chosen) as proxy:
        yield Day(proxy, database)


@contextmanager
def a_day(folder: Path, **settings: object) -> Iterator[Day]:
    """A server and a proxy of which something is going to fail."""
    with secantus(folder) as database, proxy_before(database, folder / "etc", settings=settings) as world:
        yield world


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """One for days on which only an operator or a client has a problem."""
    folder = tmp_path_factory.mktemp("day")
    audit = {"path": str(folder / "etc" / "audit.jsonl")}
    with a_day(folder, log={"slow_ms": 1}, audit=audit, keys={"refresh_s": 1}) as world:
        yield world


def test_the_server_is_away(tmp_path: Path) -> None:
    with a_day(tmp_path) as world, world.client() as client:
        client["clinic"]["patients"].insert_one({"nhs_number": "1"})
        world.database.kill()
        with suppress(PyMongoError):
            client["clinic"]["patients"].find_one({})
        until(lambda: '"upstream": "down"' in world.ready())
        world.follow("server-away")


def test_the_key_encryption_key_is_the_wrong_one(day: Day) -> None:
    kek = day.environ["SEALWIRE_KEK"]
    words = day.follow("wrong-kek", SEALWIRE_KEK=generate_encoded_kek(), OLD_KEK=kek)
    assert words["wanted"] != words["given"]


def test_the_key_encryption_key_is_lost(day: Day, tmp_path: Path) -> None:
    with day.client() as client:
        client["clinic"]["patients"].insert_one({"_id": "lost", "nhs_number": "1"})
    day.run(
        "sealwire keys export keys.export --keyring keyring.json --threshold 2 --share a.txt --share b.txt"
    )
    new = generate_encoded_kek()
    day.follow("kek-lost", SEALWIRE_KEK=None, NEW_KEK=new)
    etc = tmp_path / "etc"
    etc.mkdir()
    shutil.copy(day.proxy.options.folder / "recovered.json", etc / "keyring.json")
    with proxy_before(day.database, etc, kek=new) as recovered, recovered.client() as client:
        assert client["clinic"]["patients"].find_one({"nhs_number": "1"}) == {
            "_id": "lost",
            "nhs_number": "1",
        }
    with (
        secantus(tmp_path) as database,
        proxy_before(database, tmp_path / "copy") as copy,
        day.client() as old,
        copy.client() as client,
    ):
        client["clinic"]["patients"].insert_many(old["clinic"]["patients"].find({"_id": "lost"}))
        assert client["clinic"]["patients"].count_documents({"nhs_number": "1"}) == 1


def test_vault_is_sealed(tmp_path: Path) -> None:
    keyring = "vault:secret/sealwire/keyring"
    with raft_server(tmp_path / "bao") as bao:
        bao.client.sys.enable_secrets_engine("transit")
        bao.client.secrets.transit.create_key("sealwire", derived=True)
        enable_kv(bao.client)
        token = private(tmp_path / "token", bao.root_token)
        vault = {"address": bao.address, "ca": str(bao.ca), "auth": "token-file", "token_file": str(token)}
        environ = {
            "VAULT_ADDR": bao.address,
            "VAULT_CACERT": str(bao.ca),
            "VAULT_TOKEN": bao.root_token,
            "SEALWIRE_KEYRING": keyring,
            "SEALWIRE_KEK_PROVIDER": "vault:transit/sealwire",
        }
        warm.sealwire("keys", "create", "nhs", "notes", env=measuring() | environ, check=True)
        more: dict[str, Any] = {"kek": {"provider": "vault", "name": "sealwire"}, "vault": vault}
        with a_day(tmp_path, keyring=keyring, keys={"refresh_s": 1}, **more) as world:
            bao.seal()
            until(lambda: '"stale"' in world.ready())
            world.follow("vault-sealed", **environ)
            bao.unseal()
            until(lambda: '"keyring": "ok"' in world.ready())


def test_a_certificate_has_expired(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    authority = create_authority(etc)
    with secantus(tmp_path, authority=authority) as database:
        ends = datetime.now(UTC) + timedelta(seconds=VALID_S)
        issued = authority.issue("proxy", valid_until=ends)
        with proxy_before(database, etc, certificate=issued, authority=authority.certificate_file) as world:
            until(lambda: datetime.now(UTC) > ends)
            world.follow("certificate-ended")


def test_the_disk_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "log", 512) as disk:
        audit = {"path": str(disk.folder / "audit.jsonl")}
        with a_day(tmp_path, audit=audit) as world, world.client() as client:
            disk.fill()

            def is_waiting() -> bool:
                with suppress(PyMongoError):
                    client["clinic"]["patients"].find_one({"nhs_number": {"$regex": "1"}})
                return '"audit": "waiting"' in world.ready()

            until(is_waiting)
            world.follow("disk-full")
            disk.make_room()
            until(lambda: '"audit": "kept"' in world.ready())


def test_clients_are_refused(day: Day) -> None:
    tls: MongoClient[Any] = MongoClient(
        day.proxy.uri(), tls=True, tlsInsecure=True, serverSelectionTimeoutMS=500
    )
    with tls, pytest.raises(PyMongoError):
        tls.admin.command("ping")
    with day.client() as client, pytest.raises(OperationFailure):
        client["clinic"]["patients"].find_one({"nhs_number": {"$regex": "^9"}})
    until(lambda: "pattern" in day.run("sealwire audit tail audit.jsonl --event refused -n 1"))
    day.follow("clients-refused")


def last_slow(day: Day) -> str:
    return next(
        (each for each in reversed(day.proxy.log.read_text().splitlines()) if "slow command" in each), ""
    )


def test_it_is_slow(day: Day) -> None:
    with day.client() as client:
        visits = client["clinic"]["visits"]
        visits.insert_many([{"at": number} for number in range(5000)])
        # a slow insert may be the last one so far
        until(lambda: len(list(visits.find({"at": {"$gt": 1}}))) > 0 and "command=find" in last_slow(day))
        # before the client says goodbye, which may be slow as well
        words = day.follow("slow")
    assert int(words["server"]) > 0


def test_a_job_stands_still(day: Day) -> None:
    direct = MongoClient[Any](day.database.uri())
    with direct:
        patients = direct["clinic"]["patients"]
        patients.insert_many([{"_id": f"job {number}", "notes": "n"} for number in range(400)])
    command = [
        sys.executable,
        "-m",
        "sealwire",
        "migrate",
        "encrypt",
        "policy.yaml",
        "clinic.patients",
        "notes",
    ]
    command += ["--keyring", "keyring.json", "--batch", "10", "--share", "0.01"]
    with subprocess.Popen(command, cwd=day.proxy.options.folder, env=day.environ) as job:
        until(
            lambda: bool(
                re.search(r'"read": [1-9]', day.run("sealwire migrate status --keyring keyring.json --json"))
            )
        )
        job.kill()
    words = day.follow("job-stands-still")
    assert words["JOB"].startswith("encrypt-")
    assert int(words["done"]) < int(words["all"])


def test_a_key_has_leaked(day: Day) -> None:
    words = day.follow("key-leaked", NEW_KEK=generate_encoded_kek())
    assert words["seen"] != words["new"]


def test_every_runbook_that_shows_commands_is_followed() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    shown = set(re.findall(r"^```console test ([\w-]+)$", PAGE, re.MULTILINE))
    assert shown == set(re.findall(r'\.follow\("([\w-]+)"', source))
