"""Part `core`: Sealwire's core against libmongocrypt, in process, one thread, no sockets."""

import sys
from collections.abc import Mapping
from functools import partial

from bench.parts.core_works import COMPARED
from bench.report.extents import Extent
from bench.report.figures import Case, Metric, Results, Sample, take_slices
from bench.routes.peers import native_libmongocrypt
from bench.routes.routes import SEALWIRE
from bench.routes.talker import Talker
from tools.debian_programs import library_environment

PART = "core"
PYMONGOCRYPT, NATIVE = "pymongocrypt", "pymongocrypt-openssl"


class Worker(Talker):
    """One library's process; a context manager."""

    def __init__(self, library: str, pool: int, environment: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-m", "bench.parts.core_worker", library, str(pool)], environment)
        ready = self.ask({"do": "tell"})
        self.works: list[str] = ready["works"]
        self.libmongocrypt: str = ready["libmongocrypt"]

    def run(self, work: str, seconds: float) -> Sample:
        """Works a second, over a slice."""
        answer = self.ask({"do": "run", "work": work, "seconds": seconds})
        per_second = answer["count"] / answer["seconds"]
        return {Metric.OPERATIONS: per_second, Metric.P50: 1e6 / per_second}


def measure_core(extent: Extent, results: Results) -> dict[str, str]:
    """All works of all libraries in turns; adds to `results`, gives the versions of libmongocrypt."""
    library = native_libmongocrypt()
    native = None
    if library is not None:
        native = {**library_environment(library), "PYMONGOCRYPT_LIB": str(library)}
    else:
        results.not_measured[f"{PART} {NATIVE}"] = "libmongocrypt0 is not to be had with apt"
    with Worker(SEALWIRE, extent.core_pool) as ours, Worker(PYMONGOCRYPT, extent.core_pool) as theirs:
        libraries = {SEALWIRE: ours, PYMONGOCRYPT: theirs}
        if native is None:
            return _measure(extent, results, libraries)
        with Worker(PYMONGOCRYPT, extent.core_pool, native) as other:
            return _measure(extent, results, libraries | {NATIVE: other})


def _measure(extent: Extent, results: Results, libraries: Mapping[str, Worker]) -> dict[str, str]:
    for work in libraries[SEALWIRE].works:
        runs = {
            name: partial(library.run, work)
            for name, library in libraries.items()
            if work in COMPARED or name == SEALWIRE
        }
        results.series += take_slices(Case(PART, work), runs, extent.core_slice_s, extent.core_rounds)
    return {name: library.libmongocrypt for name, library in libraries.items() if name != SEALWIRE}
