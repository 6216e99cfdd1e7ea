"""A proxy in a process of its own, before a server that asks nobody to log in, and its clients."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from pymongo import MongoClient

from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed import database as databases
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from tests.integration.conftest import Document
from tests.proxy.server.site import Running, Site, serving
from tests.support.measuring import measuring
from tests.support.private import private

NHS = "nhs_number"
RULES = """
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients: {nhs_number: nhs_number}
"""


TWO_COLLECTIONS = RULES + "  clinic.visits: {patient: nhs_number}\n"


def new_site(
    database: DatabaseProcess,
    folder: Path,
    rules: str = RULES,
    *,
    frontier_uri: str | None = None,
    is_plaintext: bool = False,
    refresh_s: int = 1,
) -> Site:
    """One with a new key-encryption key, and a keyring with a key for the class of NHS numbers.

    `is_plaintext`: the class is in clear.
    """
    environ = new_environ()
    site = site_at(database, folder, rules, environ, refresh_s=refresh_s, frontier_uri=frontier_uri)
    kek = EnvironmentKek(environ=environ)
    create_keyring(site.keyring, kek, [NHS], datetime.now(UTC), [NHS] if is_plaintext else ())
    return site


def contexts_site(
    database: DatabaseProcess,
    folder: Path,
    rules: str,
    classes: Sequence[str],
    in_clear: Sequence[str] = (),
    *,
    store: str = "contexts.db",
    frontier_uri: str | None = None,
) -> Site:
    """One that commands find, whose classes have keys for contexts; those `in_clear` are not encrypted."""
    environ = new_environ()
    site = site_at(database, folder, rules, environ, frontier_uri=frontier_uri)
    site.config["keys"]["contexts"] = store
    create_keyring(site.keyring, EnvironmentKek(environ=environ), classes, datetime.now(UTC), in_clear)
    site.environ |= {"SEALWIRE_KEYRING": str(site.keyring), "SEALWIRE_SERVER_URI": database.uri()}
    return site


def moving_site(
    database: DatabaseProcess, folder: Path, *, is_plaintext: bool = False, refresh_s: int = 1
) -> Site:
    """One of which the class is moved by commands, in two collections; `environ` has what these need."""
    uri = database.uri()
    more: dict[str, Any] = {"is_plaintext": is_plaintext, "refresh_s": refresh_s}
    site = new_site(database, folder, TWO_COLLECTIONS, frontier_uri=uri, **more)
    site.environ |= {"SEALWIRE_KEYRING": str(site.keyring), "SEALWIRE_SERVER_URI": uri}
    with database.connect() as client:
        vouch_for_leases(client, site.keyring)
    return site


def first_move(site: Site) -> tuple[str, str]:
    """The option for the first move of a class, while proxies of this site run.

    All of them listen on port 0 of one host, by their configuration: they are one address.
    """
    with MongoClient[Document](site.environ["SEALWIRE_SERVER_URI"]) as client:
        return databases.first_move(client, 1, site.keyring)


def new_environ() -> dict[str, str]:
    """What a proxy's environment has, with a new key-encryption key."""
    return measuring() | {"PATH": "/usr/bin:/bin", "SEALWIRE_KEK": generate_encoded_kek()}


def site_at(
    database: DatabaseProcess,
    folder: Path,
    rules: str,
    environ: dict[str, str],
    *,
    keyring: str = "keyring.json",
    refresh_s: int = 1,
    frontier_uri: str | None = None,
) -> Site:
    """One whose keyring others make; it follows moves where it is told the frontier's server."""
    folder.mkdir(exist_ok=True)
    (folder / "policy.yaml").write_text(rules)
    config: dict[str, Any] = {
        "listen": {"address": "127.0.0.1:0", "advertise": "127.0.0.1:27018", "tls": {"mode": "plaintext"}},
        "upstream": {"address": database.address, "access_control": "none", "tls": {"mode": "plaintext"}},
        "policy": "policy.yaml",
        "keyring": keyring,
        "kek": {"provider": "environment"},
        "keys": {"refresh_s": refresh_s},
        "admin": {"address": "127.0.0.1:0"},
        "log": {"format": "json"},
    }
    if frontier_uri is not None:
        uri = private(folder / "frontier.uri", frontier_uri)
        config["frontier"] = {"uri_file": uri.name}
    return Site(folder, config, create_authority(folder / "authority"), environ)


def readiness(proxy: Running) -> Document:
    """What /readyz says, also with 503."""
    try:
        with urlopen(f"http://{proxy.admin}/readyz", timeout=15.0) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        with error:
            return dict(json.load(error))


def client_of(proxy: Running) -> MongoClient[Document]:
    host, port = proxy.address
    return MongoClient[Document](host, port, directConnection=True)


@contextmanager
def unread(site: Site, longest_s: float = 300.0) -> Iterator[MongoClient[Document]]:
    """A client of a proxy that logs more than a pipe holds, such as many refusals."""
    with ExitStack() as stack:
        running = stack.enter_context(serving(site, longest_s))
        threading.Thread(target=lambda: deque(running.said, 0), daemon=True).start()
        stack.callback(running.process.kill)  # before its pipe is closed, which waits for who reads it
        yield stack.enter_context(client_of(running))


@contextmanager
def at_work(work: Callable[[int], None], stop: threading.Event) -> Iterator[None]:
    """Two threads work, the first and the second client, until the block is over."""
    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
