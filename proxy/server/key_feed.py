"""The keyring that all sessions share: loaded again in a worker thread, handed on, and given up when too old.

When.    Every `refresh_s`; sooner after a failure; and when a session meets a key that it does not hold.
Who.     Whoever asks gets the result of a load that began after the question, unless one that was under way
         already happens to bring the key: it may have read the store before the key was in it.
How often.  Loads begin `RELOAD_INTERVAL_S` apart at least, so that forged key ids in the data cannot keep the
         provider busy; they buy a pause of their own session, no more.
How long.  While loads fail, sessions go on with the keyring from before, until nothing was heard from the
         provider for `max_age_s`. Then an empty keyring takes its place, and the keys leave this process.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sealwire.keys.errors import KekUnavailable, KeysError
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.source import FirstKeyring, KeyringSource
from sealwire.keys.keyring.turning import moving_command
from sealwire.proxy.server.config.settings import KeySettings
from sealwire.proxy.server.health import Freshness
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tasks import spawn

_log = logging.getLogger("sealwire.server")

RELOAD_INTERVAL_S = 1.0
RETRY_S = 10.0
# Forged key ids in the data must not fill the log.
_MOST_MISSED = 100

_Answer = asyncio.Future[Keyring | None]


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """Why the keyring could not be loaded."""

    unavailable: bool
    """Whether the provider did not answer. Then the present keys may still be right."""
    problem: str
    hint: str


_BUG = LoadFailure(unavailable=False, problem="the keyring could not be loaded", hint="the log has the stack")


class KeyFeed:
    """Holds the keyring in use. All methods are for the event loop's thread."""

    def __init__(
        self,
        source: KeyringSource,
        first: FirstKeyring,
        settings: KeySettings,
        metrics: Metrics,
        hand_on: Callable[[Keyring], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first` was loaded just now; `hand_on` is called with every keyring that takes its place."""
        now = clock()
        from_cache = first.age_s is not None
        self._source = source
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._hand_on = hand_on
        self.keyring = first.take()
        """The keyring that was loaded last; an empty one when that is too old."""
        self._show(self.keyring)
        self._missed: set[tuple[int, int]] = set()
        """Keys that this keyring does not open with, and that the log knows of."""
        self._flight: _Answer | None = None
        self._next: _Answer | None = None
        self._earliest_at = now
        # A cache is a failed load with something to go on with.
        self._due_at = now if from_cache else now + settings.refresh_s
        self._heard_at = now - (first.age_s or 0.0)
        self.freshness = Freshness.STALE if from_cache else Freshness.FRESH
        """How far `keyring` can be trusted to be the newest."""
        self._failure = _BUG
        """Why the last load failed."""

    async def keyring_with(self, keys: Sequence[tuple[int, int]]) -> Keyring | None:
        """A keyring for a session that does not know `keys`, as (class id, key version) pairs.

        At once where another session has brought them in; else what the next load gives, None when it fails.
        Raises nothing.
        """
        if self._has(keys):
            return self.keyring
        if self._flight is not None:
            # It began before the question, and may bring the key all the same.
            await asyncio.shield(self._flight)
            if self._has(keys):
                return self.keyring
        # Shielded: the first to ask may go away while others wait.
        loaded = await asyncio.shield(self._want_load())
        if loaded is not None:
            self._note_missed(loaded, keys)
        return loaded

    def _note_missed(self, keyring: Keyring, keys: Sequence[tuple[int, int]]) -> None:
        """Log once why stored values cannot be opened with the newest keyring. Ids are no secrets."""
        for key in keys:
            if key in self._missed or len(self._missed) >= _MOST_MISSED:
                continue
            try:
                keyring.cipher_by_id(*key)
            except KeysError as error:
                self._missed.add(key)
                fields = {"reason": error.reason.value, "problem": str(error), "hint": error.hint}
                note(_log, logging.WARNING, "a stored value cannot be opened", **fields)

    async def load_for(self, keys: Sequence[tuple[int, int]], done: Callable[[], None]) -> None:
        """Call `done` when `keyring_with` has its answer; a keyring that it brought was handed on before."""
        await self.keyring_with(keys)
        done()

    def _has(self, keys: Sequence[tuple[int, int]]) -> bool:
        return self.freshness is not Freshness.EXPIRED and all(self.keyring.knows(*key) for key in keys)

    def _want_load(self) -> _Answer:
        """The answer of a load that begins now, or as soon as one may."""
        wanted = self._next
        if wanted is None:
            wanted = self._next = asyncio.get_running_loop().create_future()
            self._take_off()
        return wanted

    async def load_anew(self) -> LoadFailure | None:
        """Load now, or as soon as the interval allows. None when it succeeded: its keyring then counts."""
        loaded = await asyncio.shield(self._want_load())
        return self._failure if loaded is None else None

    def use_settings(self, settings: KeySettings) -> None:
        """Other times count from now on."""
        self._settings = settings
        self._due_at = min(self._due_at, self._clock() + settings.refresh_s)

    def tick(self) -> None:
        """About once a second: begin loads that are due, and give up keys that are too old."""
        if self._flight is None and self._clock() >= self._due_at:
            self._want_load()
        self._take_off()
        age_s = self._clock() - self._heard_at
        max_age_s = self._settings.max_age_s
        if max_age_s is not None and age_s > max_age_s and self.freshness is not Freshness.EXPIRED:
            self._expire()
        self._metrics.keyring_age.set(age_s)
        self._metrics.keyring_expired.set(self.freshness is Freshness.EXPIRED)

    def _take_off(self) -> None:
        """Begin the next load if it is wanted, none is under way, and the last is long enough ago."""
        if self._next is None or self._flight is not None or self._clock() < self._earliest_at:
            return
        self._flight, self._next = self._next, None
        spawn(self._load(self._flight), "load keyring")

    async def _load(self, flight: _Answer) -> None:
        began_at = self._clock()
        loaded: Keyring | None = None
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(None, self._source.load)
        except KeysError as error:
            fields = {"reason": error.reason.value, "problem": str(error), "hint": error.hint}
            note(_log, logging.ERROR, "keyring could not be loaded", **fields)
            self._failure = LoadFailure(isinstance(error, KekUnavailable), str(error), error.hint)
        except Exception as error:  # noqa: BLE001 - whatever is raised, sessions must get an answer
            self._metrics.bugs.inc()
            self._failure = _BUG
            note(_log, logging.CRITICAL, "bug: keyring could not be loaded", error)
        now = self._clock()
        self._earliest_at = now + RELOAD_INTERVAL_S
        self._metrics.key_reloads.labels("failed" if loaded is None else "loaded").inc()
        if loaded is None:
            self._due_at = now + min(RETRY_S, self._settings.refresh_s)
            if self.freshness is Freshness.FRESH:
                self.freshness = Freshness.STALE
        else:
            self._due_at = now + self._settings.refresh_s
            self._heard_at = began_at
            self._accept(loaded)
        self._flight = None
        flight.set_result(loaded)

    def _accept(self, keyring: Keyring) -> None:
        if self.freshness is not Freshness.FRESH:
            note(_log, logging.INFO, "keyring can be loaded again")
        self.freshness = Freshness.FRESH
        if keyring is not self.keyring:
            note(_log, logging.INFO, "new keyring", generation=keyring.generation)
            self._use(keyring)

    def _expire(self) -> None:
        self.freshness = Freshness.EXPIRED
        note(
            _log,
            logging.CRITICAL,
            "keys given up: their provider was not heard from for keys.max_age_s",
            hint="make the provider answer; sessions go on by themselves then",
        )
        self._use(Keyring([]))
        self._source.forget()

    def _use(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._missed.clear()
        self._show(keyring)
        self._hand_on(keyring)

    def _show(self, keyring: Keyring) -> None:
        """Let the metrics say how old the keys are, and which classes are in clear."""
        self._metrics.key_ages.made = keyring.created
        if keyring.active_classes:  # one that was given up says nothing of where values are
            steps = {name: moving_command(name, from_plaintext=True) for name in keyring.plaintext_classes}
            self._metrics.clear_classes.use_keyring(steps)
