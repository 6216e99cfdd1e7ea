"""What the demo of migration plays on: a clinic in plaintext, OpenBao with its key, and Sealwire."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pymongo import MongoClient

from sealwire.demo.dataset import Dataset
from sealwire.demo.stage import CLINIC, Announce, Stage, start_databases
from sealwire.testbed.database import DatabaseProcess, vouch_for_leases
from sealwire.testbed.mongo_server import User
from sealwire.testbed.openbao import OpenBao, dev_server
from sealwire.testbed.proxy_process import ProxyProcess

MOVING_SETUP_STEPS: Final = 6
KEK_NAME: Final = "sealwire"

POLICY: Final = """\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  postcode: {mode: deterministic, type: string}
  phone: {mode: random}
  notes: {mode: random, key: {per: mrn}}
collections:
  clinic.patients:
    nhs_number: nhs_number
    postcode: postcode
    address.postcode: postcode
    contacts.phone: phone
    notes: notes
  clinic.appointments:
    patient_nhs: nhs_number
"""


@dataclass(frozen=True, slots=True)
class MovingStage(Stage):
    """Both servers hold the clinic in plaintext; OpenBao has the key-encryption key."""

    bao: OpenBao
    policy: Path

    @property
    def environment(self) -> dict[str, str]:
        """What an operator's commands have: where the server, the keyring and OpenBao are."""
        return os.environ | {
            "VAULT_ADDR": self.bao.address,
            "VAULT_TOKEN": self.bao.root_token,
            "SEALWIRE_KEYRING": str(self.proxy.keyring),
            "SEALWIRE_KEK_PROVIDER": f"vault:transit/{KEK_NAME}",
            "SEALWIRE_KEYS_CONTEXTS": str(self.folder / "contexts.db"),
            "SEALWIRE_SERVER_URI_FILE": str(self.folder / "server.uri"),
        }


@contextmanager
def build_moving(folder: Path, patients: int, seed: int, announce: Announce) -> Iterator[MovingStage]:
    """Start everything in `folder`, end everything with the block. The proxy is not started yet.

    Raises TestbedError. Cost: about 8 s on two cores.
    """
    policy = _written(folder / "policy.yaml", POLICY)
    with ExitStack() as stack:
        parts = start_databases(stack, folder, patients, seed, announce)
        announce("starting OpenBao, which keeps the key")
        bao = stack.enter_context(dev_server(folder / "bao"))
        bao.client.sys.enable_secrets_engine("transit")
        bao.client.secrets.transit.create_key(KEK_NAME, derived=True)
        announce("filling both in plaintext")
        for database in (parts.plain, parts.guarded):
            _fill(database, parts.administrator, parts.dataset)
        announce("noting that no proxy was at this new server before, so that no job waits for one")
        with parts.guarded.connect(parts.administrator) as client:
            vouch_for_leases(client)
        server_uri = _written(folder / "server.uri", parts.guarded.uri(parts.administrator))
        token = _written(folder / "vault-token", bao.root_token)
        settings: dict[str, object] = {
            "kek": {"provider": "vault", "name": KEK_NAME},
            "vault": {"address": bao.address, "auth": "token-file", "token_file": str(token)},
            "keys": {"refresh_s": 1, "contexts": str(folder / "contexts.db")},
            "frontier": {"uri_file": str(server_uri)},
        }
        options = parts.proxy_options(policy, settings)
        options.folder.mkdir()
        proxy = ProxyProcess(options)
        stack.callback(proxy.stop)
        yield MovingStage(parts, proxy, bao, policy)


def _fill(database: DatabaseProcess, administrator: User, dataset: Dataset) -> None:
    """As the application left it: plaintext, a unique index, and indexes that searches use."""
    with MongoClient[dict[str, Any]](database.uri(administrator, CLINIC)) as client:
        clinic = client[CLINIC]
        clinic.patients.create_index("nhs_number", unique=True)
        clinic.patients.create_index("postcode")
        clinic.patients.create_index("mrn", unique=True)
        clinic.appointments.create_index("patient_nhs")
        clinic.patients.insert_many(dict(each) for each in dataset.patients)
        clinic.appointments.insert_many(dict(each) for each in dataset.appointments)


def _written(path: Path, content: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return path
