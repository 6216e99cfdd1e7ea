"""`python -m bench.contexts --count 1000000`: so many keys for contexts: making, finding and using them.

One process, without a server: what the store and the cache do for each key, and what memory they hold.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.routes.processes import resident_kib
from sealwire.keys.contexts.cache import ContextCache, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.store import every_row
from sealwire.keys.keyring.data_key import generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import Place, parse_place
from sealwire.keys.providers import Providers
from sealwire.wire import kinds

CLASS = "notes"
_BATCH = 1000
_SINGLE = 2000
_USES = 200_000
_READY = 1000


class Figures:
    """What was measured, by name."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    @contextmanager
    def rate(self, name: str, count: int) -> Iterator[None]:
        """How many a second."""
        started = time.perf_counter()
        yield
        self.found[f"{name}, 1/s"] = round(count / (time.perf_counter() - started))


def wanted(number: int) -> ContextWanted:
    """The context of a patient's number."""
    return ContextWanted(CLASS, bytes((kinds.LONG,)) + number.to_bytes(8, "little"), True)


def measure(place: Place, count: int) -> dict[str, float]:
    """All figures, with `count` contexts in a store at `place`.

    Cost: 60 s and 300 MB for a million in a file, 2 s for a hundred in Vault
    """
    figures = Figures()
    keyring = Keyring([generate_data_key(CLASS, 1, 1, datetime.now(UTC))])
    providers = Providers()
    with closing(providers.context_store(place, create=True)) as store:
        resolver = Resolver(store)
        with figures.rate(f"first use, {_BATCH} at once", count):
            for start in range(0, count, _BATCH):
                resolver.find(
                    keyring, [wanted(number) for number in range(start, min(start + _BATCH, count))]
                )
        with figures.rate("first use, one at a time", _SINGLE):
            for number in range(count, count + _SINGLE):
                resolver.find(keyring, [wanted(number)])
        if isinstance(place, Path):
            figures.found["store, MB"] = round(place.stat().st_size / 1e6)
    started = time.perf_counter()
    with closing(providers.context_store(place, create=False)) as store:
        store.destroyed_after(-1)
        figures.found["start-up, ms"] = round(1000 * (time.perf_counter() - started), 2)
        _measure_use(figures, Resolver(store), keyring, count)
        if not isinstance(place, Path):
            with figures.rate("gone through and counted", 2 * (count + _SINGLE)):
                for _ in every_row(store, 1):
                    pass
                store.count(1)
    return figures.found


def _measure_use(figures: Figures, resolver: Resolver, keyring: Keyring, count: int) -> None:
    chance = random.Random(7)  # noqa: S311 - a sample
    chosen = [wanted(number) for number in chance.sample(range(count), min(_SINGLE, count))]
    with figures.rate("looked up, one at a time", len(chosen)):
        for each in chosen:
            resolver.find(keyring, [each])
    before = resident_kib(os.getpid())
    cache = ContextCache(count)
    with figures.rate(f"looked up, {_BATCH} at once", count):
        for start in range(0, count, _BATCH):
            batch = [wanted(number) for number in range(start, min(start + _BATCH, count))]
            cache.put(resolver.find(keyring, batch))
    figures.found["memory, bytes a key at hand"] = round(1024 * (resident_kib(os.getpid()) - before) / count)
    _measure_cached(figures, cache, "encrypted, keys made ready", chosen[:_READY])
    _measure_cached(figures, cache, "encrypted, of all keys", [wanted(n) for n in range(min(count, _USES))])


def _measure_cached(
    figures: Figures, cache: ContextCache, name: str, contexts: Sequence[ContextWanted]
) -> None:
    value = b"\x0b\0\0\x009434765919\0"
    with figures.rate(name, _USES):
        for number in range(_USES):
            cipher = cache.cipher_for(contexts[number % len(contexts)])
            if cipher is None:
                raise RuntimeError("a key is not at hand")
            cipher.encrypt_deterministically(kinds.STRING, value)


def main() -> None:
    """Measure, print a line for each figure, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.contexts", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument(
        "--contexts", help="vault:MOUNT/PATH of a store that is not there yet, in place of a file"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealwire-contexts-") as folder:
        place = parse_place(arguments.contexts or str(Path(folder) / "contexts.db"))
        found = measure(place, arguments.count)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    for name, figure in found.items():
        sys.stdout.write(f"{name:40} {figure:>12,}\n")


if __name__ == "__main__":
    main()
