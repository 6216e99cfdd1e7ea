"""Mutation testing: put one small fault into the core at a time, and see whether a test notices.

    python tools/mutation.py --sample 300 --seed 7       # 300 mutants of all rooms; without a seed, a new one
    python tools/mutation.py --module wire/op_msg.py     # every mutant of a module
    python tools/mutation.py --room keys --sample 50     # some of one room

The room's tests run once without a fault, to see which lines each of them runs (tools/reach.py). A mutant is
shown to the tests that run its line, the module's own and the quick ones first; the first failure ends it.
A process collects the tests once for PART mutants. For each it forks, and the child exchanges the code of the
function that has the fault, and of those inside it. What runs at import is imported anew instead, and all
tests of its room run; so do they for a function that ran at import too, if no test noticed the exchange.

With `--until`, in seconds since 1970, no mutant begins after that, and no room that would be measured only by
then; the others are counted as noticed. So are those beyond the `--first` ones.

tests/mutation.toml lists the mutants that no test can notice, with the reason. The exit status is 1 when
fewer than LEAST percent of the others are noticed.
"""

import argparse
import gc
import importlib.machinery
import importlib.util
import math
import os
import random
import resource
import secrets
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import takewhile
from multiprocessing import get_context
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools.mutants import Mutant, compiled, mutants_of  # noqa: E402 - found by the line above
from tools.reach import Reach, begin, in_turn, measure  # noqa: E402

ROOMS = {
    "wire": "wire/*.py",
    "crypto": "crypto/*.py",
    "policies": "policies/**/*.py",
    "session": "proxy/session/**/*.py",
    "keys": "keys/*.py keys/keyring/*.py keys/kek/[!p]*.py keys/kek/pa*.py",
}
"""keys/vault and keys/kek/pkcs11.py are left out: a real server and a real token test them."""
TESTS = {room: f"tests/{'proxy/session' if room == 'session' else room}" for room in ROOMS}
LIST = ROOT / "tests" / "mutation.toml"
LEAST = 90.0
"""What a sample must reach, with those that change nothing and are not listed yet. The aim is 95 percent of
the mutants that change behaviour."""
LEAST_LIMIT_S = 3
MOST_TIMES = 10
"""A test that takes so many times its own processor time, and so long, has met a fault that never ends."""
WALL_LIMIT_S = 300
"""One that waits for what never comes uses no processor time."""
MEMORY_LIMIT = 4 << 30
PROCESSES = 2
MEASURING_S = 90
"""Seconds that it takes to measure the tests of one room, on a processor of their own."""
PART = 60
"""Mutants for which the tests are collected once."""


class Fate(Enum):
    """What became of a mutant."""

    SURVIVED = 0
    KILLED = 1
    TIMED_OUT = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant and its end."""

    mutant: Mutant
    fate: Fate
    seconds: float

    def __str__(self) -> str:
        return f"{self.fate.name.lower()}: {self.mutant}  ({self.seconds:.0f} s)"


class Runner:
    """A pytest plugin: once the tests are collected, `work` takes the place of running them."""

    def __init__(self, work: Callable[[list[pytest.Item]], None], failed: Callable[[str], None]) -> None:
        self._work = work
        self._failed = failed

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            self._failed("a test module cannot be imported")
        self._work(session.items)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed(report.nodeid)


def killed(_: str) -> None:
    """What a failure means where there is a fault."""
    os._exit(Fate.KILLED.value)


def broken(what: str) -> None:
    """What a failure means where there is none."""
    raise pytest.exit.Exception(f"without a fault: {what}", returncode=1)


def run_tests(
    paths: Iterable[str], work: Callable[[list[pytest.Item]], None], failed: Callable[[str], None] = killed
) -> None:
    """Collect the tests at `paths` and hand them to `work`; `failed` is told of each that fails."""
    arguments = [*paths, "-q", "-s", "-p", "no:cacheprovider", "--hypothesis-profile=mutants"]
    arguments += ["-m", "not slow and not integration", "-p", "no:timeout"]
    scratch = ROOT / "build" / "mutation" / str(os.getpid())
    scratch.parent.mkdir(parents=True, exist_ok=True)
    if pytest.main([*arguments, f"--basetemp={scratch}"], plugins=[Runner(work, failed)]):
        raise RuntimeError("a test does not pass without a fault")


def run_in_turn(items: Sequence[pytest.Item], seconds: Mapping[str, float]) -> None:
    """Run tests until the first fails, which ends the process. `seconds`: what each takes without a fault."""
    following = [*items]
    while following:
        item = following.pop(0)
        after = following[0] if following else None
        usual = seconds.get(item.nodeid, 0.0)
        # the signal ends the process
        signal.setitimer(signal.ITIMER_PROF, max(LEAST_LIMIT_S, MOST_TIMES * usual))
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


def in_child(work: Callable[[], None]) -> tuple[Fate, float]:
    """Run `work` in a fork; say how it ended and how long it took. One that returns has noticed nothing."""
    begun = time.monotonic()
    process = os.fork()
    if process == 0:
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        signal.alarm(WALL_LIMIT_S)
        try:
            work()
            os._exit(Fate.SURVIVED.value)
        finally:
            os._exit(Fate.KILLED.value)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        late = os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGALRM)
        fate = Fate.TIMED_OUT if late else Fate.KILLED
    else:
        fate = Fate(os.WEXITSTATUS(status))
    return fate, time.monotonic() - begun


def targets(mutant: Mutant, functions: Iterable[FunctionType]) -> list[tuple[FunctionType, CodeType]]:
    """The living functions that have the fault, with the code that has it: those too that one made at import.

    None for what runs at import, nor where a function would lose a variable of the one around it.
    """
    if not mutant.function:
        return []
    code, line = compiled(mutant, "mutant")
    (outermost,) = [each for each in _codes(code) if _place(each) == (mutant.function, line)]
    inside = [outermost, *_codes(outermost)]
    met = Counter(map(_place, inside))
    # two lambdas of one line cannot be told apart
    faulty = {_place(each): each for each in inside if met[_place(each)] == 1}
    file = str(ROOT / mutant.module)
    pairs = [
        (each, faulty[_place(each.__code__)])
        for each in functions
        if _place(each.__code__) in faulty and os.path.realpath(each.__code__.co_filename) == file
    ]
    is_alike = all(each.__code__.co_freevars == code.co_freevars for each, code in pairs)
    return pairs if is_alike else []


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _codes(code: CodeType) -> Iterable[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


class Importer(importlib.machinery.SourceFileLoader):
    """Imports one module with a fault in it."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        path = f"sealwire/{mutant.module}"
        super().__init__(path.removesuffix(".py").replace("/", "."), str(ROOT / path))

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """A finder of one name."""
        return (
            importlib.util.spec_from_file_location(name, self.path, loader=self)
            if name == self.name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        code, _ = compiled(self._mutant, self.path)
        exec(code, module.__dict__)  # noqa: S102 - the project's own source


def import_and_run(mutant: Mutant, reach: Reach) -> None:
    """Run tests with the fault in a freshly imported module: its own and those that name it, then all."""
    room, imported = TESTS[room_of(mutant.module)], replace(mutant, function="")
    sys.meta_path.insert(0, Importer(mutant))
    for paths in filter(None, (_near(mutant.module, ROOT / room), [room])):
        for name in [name for name in sys.modules if name.partition(".")[0] in ("sealwire", "tests")]:
            del sys.modules[name]
        run_tests(paths, lambda items: run_in_turn(in_turn(imported, items, reach), reach.seconds))


def _near(module: str, folder: Path) -> list[str]:
    path = Path(module)
    own, dotted = f"test_{path.name}", f"sealwire.{'.'.join(path.with_suffix('').parts)}"
    files = sorted(folder.rglob("test_*.py"))
    return [str(file) for file in files if file.name == own or dotted in file.read_text(encoding="utf-8")]


def exchange_and_run(
    pairs: Sequence[tuple[FunctionType, CodeType]], tests: Sequence[pytest.Item], seconds: Mapping[str, float]
) -> None:
    """Run the tests with the fault in living functions."""
    for function, code in pairs:
        function.__code__ = code
    run_in_turn(tests, seconds)


def room_of(module: str) -> str:
    first, second = Path(module).parts[:2]
    return second if first == "proxy" else first


def reach_of(room: str) -> Reach:
    """Measure a room's tests, in a process of its own."""
    found: list[Reach] = []
    files = (path for pattern in ROOMS[room].split() for path in ROOT.glob(pattern))
    modules = [path.relative_to(ROOT).as_posix() for path in files]
    measuring = begin(modules)
    run_tests([TESTS[room]], lambda items: found.append(measure(items, measuring)), broken)
    return found[0]


def judge(mutants: Sequence[Mutant], reach: Reach, until: float) -> list[Judged]:
    """Judge mutants of one room, one after another, in a process of their own, as long as there is time."""
    judged: list[Judged] = []
    if time.time() >= until:
        return judged

    def serve(items: list[pytest.Item]) -> None:
        gc.unfreeze()  # what tests/conftest.py froze is not among the objects
        functions = [each for each in gc.get_objects() if type(each) is FunctionType]
        gc.freeze()
        for mutant in takewhile(lambda _: time.time() < until, mutants):
            anew = partial(import_and_run, mutant, reach)
            pairs = targets(mutant, functions)
            exchanged = partial(exchange_and_run, pairs, in_turn(mutant, items, reach), reach.seconds)
            fate, seconds = in_child(exchanged if pairs else anew)
            if fate is Fate.SURVIVED and pairs and reach.is_imported(mutant.module, mutant.place):
                # what it made at import, a table of rules for instance, was made without the fault
                fate, more = in_child(anew)
                seconds += more
            judged.append(Judged(mutant, fate, seconds))
            if judged[-1].fate is not Fate.KILLED:
                print(f"\n{judged[-1]}", flush=True)

    run_tests([TESTS[room_of(mutants[0].module)]], serve)
    return judged


def candidates(rooms: Iterable[str], module: str | None) -> list[Mutant]:
    """Every mutant that may be drawn."""
    patterns = [module] if module else " ".join(ROOMS[room] for room in rooms).split()
    files = (path for pattern in patterns for path in sorted(ROOT.glob(pattern)))
    return [mutant for path in files for mutant in mutants_of(path.relative_to(ROOT).as_posix())]


def equivalents(text: str) -> dict[tuple[str, ...], str]:
    """The mutants of the list, each with the reason."""
    rows = tomllib.loads(text).get("equivalent", [])
    return {(row["module"], row["function"], row["before"], row["after"]): row["why"] for row in rows}


def jobs_of(mutants: Sequence[Mutant]) -> dict[str, list[list[Mutant]]]:
    """By room, parts for one process each."""
    by_room: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_room.setdefault(room_of(mutant.module), []).append(mutant)
    return {
        room: [each[at : at + PART] for at in range(0, len(each), PART)] for room, each in by_room.items()
    }


def judged_in_parallel(mutants: Sequence[Mutant], processes: int, until: float) -> Iterator[Judged]:
    """Each mutant's end, as its part is done. A room is measured when nothing that was measured is left."""
    jobs = jobs_of(mutants)
    rooms, parts = [*jobs], list[tuple[list[Mutant], Reach]]()
    running: dict[Future[Any], str] = {}
    with ProcessPoolExecutor(processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        while True:
            while len(running) < processes and (parts or (rooms and time.time() + MEASURING_S < until)):
                if parts:
                    running[pool.submit(judge, *parts.pop(0), until)] = ""
                else:
                    room = rooms.pop(0)
                    running[pool.submit(reach_of, room)] = room
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                if room := running.pop(each):
                    parts += [(part, each.result()) for part in jobs[room]]
                else:
                    yield from each.result()


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--sample", type=int, help="how many mutants to draw; all without it")
    parser.add_argument("--first", type=int, help="how many of these to try; the others count as noticed")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--room", choices=ROOMS, action="append")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--module", help="only this module, such as wire/op_msg.py")
    parser.add_argument(
        "--until", type=float, default=math.inf, help="when to begin no more, in seconds since 1970"
    )
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed

    listed = equivalents(LIST.read_text(encoding="utf-8"))
    found = candidates(arguments.room or ROOMS, arguments.module)
    open_to_tests = [mutant for mutant in found if mutant.key not in listed]
    count = min(arguments.sample or len(open_to_tests), len(open_to_tests))
    drawn = random.Random(seed).sample(open_to_tests, count)  # noqa: S311 - a sample, no secret
    print(f"mutation: seed {seed}, {count} of {len(open_to_tests)} mutants", flush=True)
    begun = time.monotonic()
    in_time = time.time() < arguments.until
    tried = drawn[: arguments.first]
    judged = [*judged_in_parallel(tried, arguments.processes, arguments.until)] if in_time else []
    text, status = verdict([each.fate for each in judged], count)
    print(f"mutation: seed {seed}, {text}, {time.monotonic() - begun:.0f} s")
    return status


def verdict(fates: Sequence[Fate], drawn: int) -> tuple[str, int]:
    """What the sample says, and the exit status.

    Mutants that were left out count as noticed: a part of a sample fails only where the whole would.
    """
    survived = fates.count(Fate.SURVIVED)
    status = int(100 * (drawn - survived) < LEAST * drawn)
    late = f" ({drawn - len(fates)} more were left out)" if len(fates) < drawn else ""
    if not fates:
        return f"no mutant{late}", status
    counts = ", ".join(f"{fates.count(fate)} {fate.name.lower().replace('_', ' ')}" for fate in Fate)
    noticed = 100 * (len(fates) - survived) / len(fates)
    return f"{len(fates)} mutants{late}: {counts}; {noticed:.1f} % noticed", status


if __name__ == "__main__":
    sys.exit(main())
