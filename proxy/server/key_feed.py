"""The keyring that all sessions share, and its reload when a session meets a key it does not hold.

Loading may take long (scrypt, a network provider): it runs in a worker thread, once for all sessions that ask
at the same time, and not again within a second, so that forged key ids in the data cannot keep it busy.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from sealwire.keys.errors import KeysError
from sealwire.keys.keyring import Keyring
from sealwire.proxy.server.logs import note
from sealwire.proxy.server.metrics import Metrics
from sealwire.proxy.server.tasks import spawn

_log = logging.getLogger("sealwire.server")

RELOAD_INTERVAL_S = 1.0


class KeyFeed:
    """Holds the keyring in use. All methods are for the event loop's thread."""

    def __init__(
        self,
        load: Callable[[], Keyring],
        keyring: Keyring,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._metrics = metrics
        self._clock = clock
        self._keyring = keyring
        self._flight: asyncio.Future[Keyring | None] | None = None
        self._ended_at: float | None = None
        self._failed = False

    @property
    def keyring(self) -> Keyring:
        """The keyring that was loaded last."""
        return self._keyring

    @property
    def failed(self) -> bool:
        """Whether the last reload failed; sessions go on with the keyring from before."""
        return self._failed

    async def reload(self) -> Keyring | None:
        """The keyring as it is now in the store, or None if it could not be loaded. Raises nothing."""
        if self._flight is None:
            if self._ended_at is not None and self._clock() - self._ended_at < RELOAD_INTERVAL_S:
                return None if self._failed else self._keyring
            self._flight = asyncio.get_running_loop().create_future()
            # A task of its own: whoever asked first may go away while others wait.
            spawn(self._load_once(self._flight), "load keyring")
        return await asyncio.shield(self._flight)

    async def _load_once(self, flight: "asyncio.Future[Keyring | None]") -> None:
        loop = asyncio.get_running_loop()
        try:
            self._keyring = await loop.run_in_executor(None, self._load)
        except KeysError as error:
            self._failed = True
            fields = {"reason": error.reason.value, "problem": str(error), "hint": error.hint}
            note(_log, logging.ERROR, "keyring could not be loaded", **fields)
        except Exception as error:  # noqa: BLE001 - whatever is raised, sessions must get an answer
            self._failed = True
            self._metrics.bugs.inc()
            note(_log, logging.CRITICAL, "bug: keyring could not be loaded", error)
        else:
            self._failed = False
            note(_log, logging.INFO, "keyring loaded again")
        self._ended_at = self._clock()
        self._metrics.key_reloads.labels("failed" if self._failed else "loaded").inc()
        self._flight = None
        flight.set_result(None if self._failed else self._keyring)
