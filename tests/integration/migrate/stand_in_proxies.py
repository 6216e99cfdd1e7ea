"""Proxies that a test stands for."""

import threading
import time
import uuid

from sealwire.keys.frontier.frontier import FIRST_GENERATION
from sealwire.keys.frontier.record import DATABASE, FRONTIERS, LEASES, parse_frontier
from sealwire.keys.keyring.file import load_keyring
from sealwire.testbed.database import first_move
from tests.integration.migrate.clinics import NHS, Clinic

_LOOK_S = 0.02
_RENEWED_S = 0.1


class StandInProxies:
    """Leases that are renewed, and acknowledge what the frontier says once they have seen it.

    They look as often as real ones, and write where there is news, or else from time to time. Stubborn ones
    acknowledge the pending key, and no window.
    """

    def __init__(self, clinic: Clinic, count: int = 2) -> None:
        self.names = [str(uuid.uuid4()) for _ in range(count)]
        self.stubborn: set[str] = set()
        self._clinic = clinic
        self._cipher = load_keyring(clinic.keyring, clinic.kek).pending_cipher_for(NHS)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.windows: set[int] = set()

    def __enter__(self) -> "StandInProxies":
        self._thread.start()
        with self._clinic.database.connect() as client:
            first_move(client, len(self.names), self._clinic.keyring)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        assert self._cipher is not None
        with self._clinic.database.connect() as client:
            wrote_at, wrote = -_RENEWED_S, ""
            while not self._stopped.wait(_LOOK_S):
                found = client[DATABASE][FRONTIERS].find_one({"_id": self._cipher.class_id})
                begun = {str(self._cipher.class_id): FIRST_GENERATION}
                known = begun
                if found is not None:
                    frontier = parse_frontier(found, self._cipher)
                    self.windows.add(frontier.generation)
                    known = {str(frontier.class_id): frontier.generation}
                told_by = {name: begun if name in self.stubborn else known for name in self.names}
                if str(told_by) == wrote and time.monotonic() < wrote_at + _RENEWED_S:
                    continue
                wrote_at, wrote = time.monotonic(), str(told_by)
                for name, told in told_by.items():
                    client[DATABASE][LEASES].update_one(
                        {"_id": name},
                        {"$currentDate": {"renewed": True}, "$set": {"acknowledged": told}},
                        upsert=True,
                    )
