"""Part `core`: Sealwire's core against libmongocrypt, in process, one thread, no sockets."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

from bench.core_works import COMPARED
from bench.figures import Case, Metric, Results, Sample, take_turns
from bench.peers import native_libmongocrypt
from bench.profiles import Profile
from bench.routes import SEALWIRE
from tools.debian_programs import library_environment

PART = "core"
PYMONGOCRYPT, NATIVE = "pymongocrypt", "pymongocrypt-openssl"
_WARM_UP = 0.3


class Worker:
    """One side's process; a context manager."""

    def __init__(self, side: str, pool: int, environment: Mapping[str, str] | None = None) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "bench.core_worker", side, str(pool)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=None if environment is None else dict(environment),
        )
        ready = self._answer()
        self.works: list[str] = ready["works"]
        self.libmongocrypt: str = ready["libmongocrypt"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(10)

    def run(self, work: str, seconds: float) -> Sample:
        """Works a second, over a slice."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"work": work, "seconds": seconds}) + "\n")
        self._child.stdin.flush()
        answer = self._answer()
        per_second = answer["count"] / answer["seconds"]
        return {Metric.OPERATIONS: per_second, Metric.P50: 1e6 / per_second}

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("a worker of the core's bench has ended; its error stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def measure_core(profile: Profile, results: Results) -> dict[str, str]:
    """All works of all sides in turns; adds to `results`, gives the versions of libmongocrypt."""
    library = native_libmongocrypt()
    native = None
    if library is not None:
        native = dict(library_environment(library)) | {"PYMONGOCRYPT_LIB": str(library)}
    else:
        results.not_measured[f"{PART} {NATIVE}"] = "libmongocrypt0 is not to be had with apt"
    with Worker(SEALWIRE, profile.core_pool) as ours, Worker(PYMONGOCRYPT, profile.core_pool) as theirs:
        sides = {SEALWIRE: ours, PYMONGOCRYPT: theirs}
        if native is None:
            return _measure(profile, results, sides)
        with Worker(PYMONGOCRYPT, profile.core_pool, os.environ | native) as other:
            return _measure(profile, results, sides | {NATIVE: other})


def _measure(profile: Profile, results: Results, sides: Mapping[str, Worker]) -> dict[str, str]:
    for work in sides[SEALWIRE].works:
        slices = {
            name: partial(side.run, work, profile.core_slice_s)
            for name, side in sides.items()
            if work in COMPARED or name == SEALWIRE
        }
        for each in slices:
            sides[each].run(work, profile.core_slice_s * _WARM_UP)
        results.series += take_turns(Case(PART, work), slices, profile.core_rounds)
    return {name: side.libmongocrypt for name, side in sides.items() if name != SEALWIRE}
