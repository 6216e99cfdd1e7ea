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
    """One side's process; a context manager."""

    def __init__(self, side: str, pool: int, environment: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-m", "bench.parts.core_worker", side, str(pool)], environment)
        ready = self.ask({"do": "tell"})
        self.works: list[str] = ready["works"]
        self.libmongocrypt: str = ready["libmongocrypt"]

    def run(self, work: str, seconds: float) -> Sample:
        """Works a second, over a slice."""
        answer = self.ask({"do": "run", "work": work, "seconds": seconds})
        per_second = answer["count"] / answer["seconds"]
        return {Metric.OPERATIONS: per_second, Metric.P50: 1e6 / per_second}


def measure_core(extent: Extent, results: Results) -> dict[str, str]:
    """All works of all sides in turns; adds to `results`, gives the versions of libmongocrypt."""
    library = native_libmongocrypt()
    native = None
    if library is not None:
        native = {**library_environment(library), "PYMONGOCRYPT_LIB": str(library)}
    else:
        results.not_measured[f"{PART} {NATIVE}"] = "libmongocrypt0 is not to be had with apt"
    with Worker(SEALWIRE, extent.core_pool) as ours, Worker(PYMONGOCRYPT, extent.core_pool) as theirs:
        sides = {SEALWIRE: ours, PYMONGOCRYPT: theirs}
        if native is None:
            return _measure(extent, results, sides)
        with Worker(PYMONGOCRYPT, extent.core_pool, native) as other:
            return _measure(extent, results, sides | {NATIVE: other})


def _measure(extent: Extent, results: Results, sides: Mapping[str, Worker]) -> dict[str, str]:
    for work in sides[SEALWIRE].works:
        runs = {
            name: partial(side.run, work)
            for name, side in sides.items()
            if work in COMPARED or name == SEALWIRE
        }
        results.series += take_slices(Case(PART, work), runs, extent.core_slice_s, extent.core_rounds)
    return {name: side.libmongocrypt for name, side in sides.items() if name != SEALWIRE}
