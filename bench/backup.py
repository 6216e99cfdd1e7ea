"""`python -m bench.backup --size 5G`: a backup against tar, gzip and openssl on the same documents.

The documents are synthetic patients whose covered fields are envelopes: about half of each does not shrink.
All routes read from and write to files of one folder, in turns. mongodump is not part of any route: where a
server is read, the server is what takes the time.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import bson
from bson.binary import Binary
from rich.console import Console
from rich.table import Table

from bench.dataset import COVERED, documents
from bench.report.report import RESULTS, describe_machine
from sealwire.crypto.cipher import ValueCipher
from sealwire.keys.kek.kek import LocalKek, generate_encoded_kek
from sealwire.sidecars.backup.archive.contents import Block, cut, gather
from sealwire.sidecars.backup.archive.metadata import part_path
from sealwire.sidecars.backup.archive.tar import TarWriter
from sealwire.sidecars.backup.dumping.readers import produced
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.sealed.manifest import Consistency, Manifest
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore

POOL_BYTES = 48 << 20
"""How many different bytes there are before they repeat: gzip looks back 32 KiB only."""
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
OURS = "sealwire"


@dataclass(frozen=True, slots=True)
class Rate:
    """One step of one route: the rounds' median."""

    step: str
    route: str
    megabytes_s: float
    """Megabytes of uncompressed documents a second."""
    output_bytes: int
    ratio: float
    """The time, compared with Sealwire's in the same round."""


class Bench:
    """The folder with the documents, and the routes over it."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.kek = LocalKek(bytes(range(32)))
        self._dump = folder / "dump" / "clinic" / "patients.bson"
        self._dump.parent.mkdir(parents=True)
        self._out = folder / "out"
        self._out.mkdir()
        # openssl takes a passphrase from a file, as it should be given one
        self._passphrase = folder / "passphrase"
        self._passphrase.write_text(generate_encoded_kek())
        pool = make_pool(min(POOL_BYTES, size))
        with self._dump.open("wb") as out:
            while (left := size - out.tell()) > 0:
                out.write(pool if left >= len(pool) else whole_documents(pool, left))
                if left < len(pool):
                    break
        self.size = self._dump.stat().st_size

    def seal(self) -> int:
        """What `backup create` does after the server: digests, tar, gzip, AES-256-GCM. Bytes of the file."""
        moment = datetime.now(UTC).replace(microsecond=0)
        store = LocalStore(self._out)
        for stored in store.objects():
            store.delete(stored.key)

        def read(path: Path) -> Iterator[Block]:
            with path.open("rb") as stream:
                yield from gather(cut(stream, 4 << 20))

        with create_backup(store, OURS, [self.kek]) as sink:
            tar = TarWriter(sink, moment)
            with produced([self._dump], read, threads=1, waiting=2) as blocks:
                for block in blocks:
                    path = part_path("clinic", "patients", block.number)
                    tar.add(path, block.data, block.digest.documents, "clinic.patients")
            tar.finish(
                Manifest(moment, moment, "bench", "files", "none", Consistency.NONE, None, None, (), ())
            )
        return sum(stored.size for stored in store.objects())

    def verify(self) -> int:
        """`backup verify`: decrypt, decompress, count and hash everything."""
        verify_backup(LocalStore(self._out), OURS, [self.kek], datetime.now(UTC))
        return 0

    def pipeline(self, compressor: str) -> int:
        """tar, the compressor, and openssl's AES-256-CTR, which authenticates nothing."""
        target = self._out / "pipeline"
        cipher = f"openssl enc -aes-256-ctr -pbkdf2 -pass file:{self._passphrase}"
        _shell(f"tar -C {self._dump.parents[1]} -cf - . | {compressor} | {cipher} -out {target}")
        return target.stat().st_size

    def unpipeline(self) -> int:
        """The same backwards, into nothing."""
        cipher = f"openssl enc -d -aes-256-ctr -pbkdf2 -pass file:{self._passphrase}"
        _shell(f"{cipher} -in {self._out / 'pipeline'} | gzip -dc | tar -xOf - > /dev/null")
        return 0


def make_pool(size: int) -> bytes:
    """Patients whose covered fields are envelopes."""
    cipher = ValueCipher(bytes(range(64)), 1, 1)
    made, held = [], 0
    for document in documents(1948):
        sealed: dict[str, object] = dict(document)
        for name in COVERED:
            sealed[name] = Binary(cipher.encrypt_randomly(2, str(document[name]).encode()), 0x80)
        made.append(bson.encode(sealed))
        held += len(made[-1])
        if held >= size:
            break
    return b"".join(made)


def whole_documents(pool: bytes, most: int) -> bytes:
    """As much of the pool as fits."""
    position = 0
    while position < len(pool):
        length = int.from_bytes(pool[position : position + 4], "little")
        if position + length > most:
            break
        position += length
    return pool[:position]


def measure(bench: Bench, rounds: int) -> list[Rate]:
    """Every route in turns; what disturbs the machine for a while disturbs all of them."""
    gzips = ["gzip -6", "gzip -1", *(["pigz -6"] if shutil.which("pigz") else [])]
    writing: dict[str, Callable[[], int]] = {OURS: bench.seal}
    for name in gzips:
        writing[f"tar | {name} | openssl enc"] = lambda name=name: bench.pipeline(name)  # type: ignore[misc]
    reading = {OURS: bench.verify, "openssl enc -d | gzip -d | tar": bench.unpipeline}
    return _turns("write", writing, bench.size, rounds) + _turns("read", reading, bench.size, rounds)


def _turns(step: str, routes: dict[str, Callable[[], int]], size: int, rounds: int) -> list[Rate]:
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    written: dict[str, int] = {}
    for _ in range(rounds):
        for name, run in routes.items():
            began = time.perf_counter()
            written[name] = run()
            seconds[name].append(time.perf_counter() - began)
    return [
        Rate(
            step,
            name,
            size / 1e6 / median(taken),
            written[name],
            median(one / ours for one, ours in zip(taken, seconds[OURS], strict=True)),
        )
        for name, taken in seconds.items()
    ]


def _shell(command: str) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-c", command], check=True)


def parse_size(text: str) -> int:
    """`300M`, `5G`, or bytes."""
    unit = UNITS.get(text[-1:].upper())
    return int(text) if unit is None else int(text[:-1]) * unit


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description="What a backup costs; ratios from one interleaved run.")
    parser.add_argument("--size", type=parse_size, default="300M", help="of documents (default 300M)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--folder", type=Path, help="where there is room for twice the size")
    parser.add_argument("--no-file", action="store_true", help="write nothing to bench/results")
    arguments = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="sealwire-bench-", dir=arguments.folder) as name:
        bench = Bench(Path(name), arguments.size)
        rates = measure(bench, arguments.rounds)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    show(Console(), bench.size, rates, memory)
    if not arguments.no_file:
        commit = machine["commit"]
        path = RESULTS / f"backup-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{commit}.json"
        whole = {
            "machine": machine,
            "size": bench.size,
            "memory": memory,
            "rates": [asdict(r) for r in rates],
        }
        path.write_text(json.dumps(whole, indent=1) + "\n")
        sys.stdout.write(
            f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}\n"
        )


def show(console: Console, size: int, rates: list[Rate], memory: int) -> None:
    """The table."""
    table = Table("", "route", "MB/s", "of the size", "time, Sealwire = 1")
    for rate in rates:
        share = f"{rate.output_bytes / size:.3f}" if rate.output_bytes else ""
        table.add_row(rate.step, rate.route, f"{rate.megabytes_s:,.0f}", share, f"{rate.ratio:.2f}")
    console.print(table)
    console.print(
        f"{size / 1e6:,.0f} MB of documents, {os.cpu_count()} cores; this process held at most "
        f"{memory / 1e6:,.0f} MB, {POOL_BYTES / 1e6:,.0f} MB of it the documents' pool"
    )


if __name__ == "__main__":
    main()
