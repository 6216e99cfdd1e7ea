"""Finds keys of contexts for sessions, in a worker thread, and takes destroyed ones out of their cache.

A key that was destroyed is known as such after `keys.refresh_s` at the latest. While the store does not
answer, the keys at hand serve until `keys.max_age_s`, as those of the keyring do; new ones cannot be found.
It may be away when the process starts: then there are none at hand, and the first answer says from where on
destructions are to be read.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from sealwire.keys.contexts.cache import ContextCache, ContextWanted, Found
from sealwire.keys.contexts.resolver import Resolver, has_wrapping
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.errors import KekUnavailable, KeysError, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.config.settings import KeySettings
from sealwire.proxy.server.health import StoreReach
from sealwire.proxy.server.observability.logs import LogGate, note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tasks import spawn

_log = logging.getLogger("sealwire.server")

# Without a maximum age in the settings there is none: then a store that is away keeps a destroyed key alive.
_RETRY_S = 5.0

_MOST_KEYRINGS = 3
"""How many keyrings in a row one search may meet: they change seldom, and a load takes longer than a look."""

T = TypeVar("T")


class Keyrings(Protocol):
    """A `KeyFeed`, or a test's stand-in."""

    @property
    def keyring(self) -> Keyring:
        """The one that counts."""
        ...

    async def keyring_with(self, keys: Sequence[tuple[int, int]]) -> Keyring | None:
        """A newer one; see `KeyFeed.keyring_with`."""
        ...


@dataclass(frozen=True, slots=True)
class OpenContexts:
    """A store of the keys of contexts."""

    store: ContextStore
    mark: int | None
    """From before anything was looked up, see `ContextStore.destroyed_after`; None: no answer."""
    unavailable: KekUnavailable | None = None
    """Why it did not."""


class ContextFeed:
    """Serves one process. All methods are for the event loop's thread."""

    def __init__(
        self,
        opened: OpenContexts,
        cache: ContextCache,
        keys: Keyrings,
        settings: KeySettings,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keys` has the keyring that counts, and newer ones."""
        store = self._store = opened.store
        self._cache = cache
        self._keys = keys
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._resolver = Resolver(store)
        self._gate = LogGate(10.0, clock)
        self._mark = opened.mark
        self.reach = StoreReach.ANSWERS if opened.unavailable is None else StoreReach.AWAY
        self._looking = False
        self._looks = self._wanted = 0
        self.looked = 0
        """The number of the newest look that was answered; see `look_again`."""
        self._due_at = clock()
        self._looked_at = clock()
        self._heard_at = clock()

    async def find_for(
        self, wanted: Sequence[ContextWanted], key_ids: Sequence[bytes], done: Callable[[], None]
    ) -> None:
        """Look for these keys, and call `done` while what was found nowhere is still known to be nowhere."""
        search = partial(self._find, wanted, key_ids)
        missed = await search()
        if missed is not None and await self._keys.keyring_with((missed,)) is not None:
            # another process has a newer keyring, and wrapped a key with it
            await search()
        done()
        self._cache.forget_misses()

    async def _find(
        self, wanted: Sequence[ContextWanted], key_ids: Sequence[bytes]
    ) -> tuple[int, int] | None:
        """Look; the key of a class that the keyring lacks, where that is what stands in the way.

        What was found with a keyring that does not count any more is not taken: then once more.
        """
        for _ in range(_MOST_KEYRINGS):
            keyring = self._keys.keyring
            found = await self._find_with(keyring, wanted, key_ids)
            if isinstance(found, UnknownKey):
                return found.key
            if found is None:
                break
            if self._keys.keyring is keyring:
                self._cache.put(found)
                break
        return None

    async def _find_with(
        self, keyring: Keyring, wanted: Sequence[ContextWanted], key_ids: Sequence[bytes]
    ) -> Found | UnknownKey | None:
        """What one look finds; None where there was no answer."""
        known = self._mark

        def find() -> tuple[int, Found | UnknownKey]:
            mark = self._store.destroyed_after(-1)[0] if known is None else known
            try:
                # a class that is in clear by now needs no key: the command goes on without
                needed = [each for each in wanted if has_wrapping(keyring, each.class_name)]
                return mark, self._resolver.find(keyring, needed, key_ids)
            except UnknownKey as error:
                if error.key is None:
                    raise
                return mark, error

        answer = await self._in_thread(find)
        if answer is None:
            # a look tells whether it is the store
            self._due_at = min(self._due_at, self._looked_at + _RETRY_S)
            return None
        mark, found = answer
        if known is None:
            # whoever asked first knows of the most destructions to come
            self._mark = mark if self._mark is None else min(mark, self._mark)
        return found

    def look_again(self) -> int:
        """Look for destroyed keys with the next tick; the number of this look, which begins after now."""
        self._wanted = self._looks + 1
        return self._wanted

    def use_settings(self, settings: KeySettings) -> None:
        """Other times count from now on."""
        self._settings = settings
        self._due_at = min(self._due_at, self._clock() + settings.refresh_s)

    def tick(self) -> None:
        """About once a second: look for destroyed keys where that is due, give up keys that are too old."""
        now = self._clock()
        if not self._looking and (now >= self._due_at or self._looks < self._wanted):
            self._looking = True
            self._looks += 1
            spawn(self._look(), "look for destroyed keys")
        max_age_s = self._settings.max_age_s
        if max_age_s is not None and now - self._heard_at > max_age_s and len(self._cache):
            note(_log, logging.CRITICAL, "keys of contexts given up: their store was not heard from")
            self._cache.clear()
        self._metrics.context_keys.set(len(self._cache))
        self._metrics.context_store_away.set(self.reach is StoreReach.AWAY)
        met, self._cache.destroyed_met = self._cache.destroyed_met, 0
        if met:
            self._metrics.shredded_values.inc(met)

    async def _look(self) -> None:
        began_at = self._looked_at = self._clock()
        mark = -1 if self._mark is None else self._mark
        found = await self._in_thread(partial(self._store.destroyed_after, mark))
        if found is None:
            self.reach = StoreReach.AWAY
            self._due_at = self._clock() + min(_RETRY_S, self._settings.refresh_s)
        else:
            last, destroyed = found
            if mark >= 0 or self._mark is None:
                self._mark = last
            self._cache.destroy(destroyed)
            if self.reach is StoreReach.AWAY:
                note(_log, logging.INFO, "the store of context keys answers again")
            self.reach = StoreReach.ANSWERS
            self._heard_at = began_at
            self.looked = self._looks
            self._due_at = began_at + self._settings.refresh_s
        self._looking = False

    async def _in_thread(self, action: Callable[[], T]) -> T | None:
        """What `action` gives; None where it fails, which the log tells."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, action)
        except KeysError as error:
            fields = {"reason": error.reason.value, "problem": str(error), "hint": error.hint}
            self._gate.note(_log, logging.ERROR, "keys of contexts could not be looked up", "store", **fields)
        except Exception as error:  # noqa: BLE001 - whatever is raised, sessions must get an answer
            self._metrics.bugs.inc()
            note(_log, logging.CRITICAL, "bug: keys of contexts could not be looked up", error)
        return None
