"""Run the tests with coverage, print the table, and hold every module to its threshold.

Every source module is covered for OWN percent of lines and branches by its own tests: those of the test
module that mirrors it (tests/wire/test_framing.py: wire/framing.py), or those that tests/coverage.toml names.
That file also has the modules with less, each with its figure, which may not fall. Code that runs at import
counts for every test module. A figure that could be higher and an entry that nothing needs are only noted:
what a test covers differs between machines and from run to run, and no change is wrong for covering more.

Only test modules that are some module's own are measured, and together they cover TOTAL percent. The others
run as in `make test`, at full speed. `--every` measures them too, for `--write` to choose from.

    python tools/coverage_run.py [arguments of pytest]          # measure, then judge
    python tools/coverage_run.py --every [arguments of pytest]  # the same with all test modules
    python tools/coverage_run.py --judge                        # what was measured last
    python tools/coverage_run.py --write                        # and write tests/coverage.toml anew
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "build" / "coverage"
LIST = ROOT / "tests" / "coverage.toml"
ROOMS = ("audit", "crypto", "examples", "files", "keys", "policies", "proxy", "sealwire", "sidecars", "wire")
TOTAL = 95.0
OWN = 90.0
SLACK = 8
"""By how much a module may be above its figure without a note: hypothesis draws anew in each run."""
SWAY = 6
"""By how much it may be below its figure, or above the threshold without a note. In a small module one branch
is that much, and which of two events comes first differs between machines."""
HOMES = 3
"""How many test modules may be a module's own."""
EVERY = "SEALWIRE_MEASURE_EVERY"
"""The variable with which all test modules are measured."""

# They drive everything and test no module.
_DECLARATIONS = "declares names, types or tables, and runs whole at import"
_BROAD = (
    "differential",
    "test_taint",
    "test_retyped",
    "test_mutations",
    "test_drivers",
    "fuzz",
    "tests/bench/",
)
_HEAD = """\
# Which tests are a module's own, where no test module mirrors it or that one is not enough; and what they
# cover in percent of lines and branches, where it is less than 90. `make coverage` notes an entry that is not
# needed and a figure that has become too low. `python tools/coverage_run.py --write` writes this file from
# what it has measured.

[modules]
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the list says of one module."""

    tests: tuple[str, ...] = ()
    """Its own test modules; none: the one that mirrors it."""
    percent: int | None = None
    """What they cover, if that is less than OWN."""
    why: str | None = None
    """The reason why a module has no tests of its own."""


def source_modules() -> list[str]:
    """Every module of the product that has code, by its path. Links are not followed."""
    files = (file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py")))
    return [
        file.relative_to(ROOT).as_posix()
        for file in files
        if "\nimport " in (text := read(file)) or "\nfrom " in text
    ]


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def mirror(module: str) -> str:
    """The test module that mirrors a source module."""
    path = Path(module.removeprefix("sealwire/"))
    return (Path("tests") / path.parent / f"test_{path.name}").as_posix()


def read_list(text: str) -> dict[str, Listed]:
    """The modules of the list. Raises TypeError for a key that is not known."""
    rows = tomllib.loads(text)["modules"]
    return {name: Listed(**{**row, "tests": tuple(row.get("tests", ()))}) for name, row in rows.items()}


def list_text(listed: Mapping[str, Listed]) -> str:
    """The list as its file has it."""
    lines = []
    for module, row in sorted(listed.items()):
        tests = ", ".join(f'"{test}"' for test in row.tests)
        parts = [f"tests = [{tests}]"] * bool(row.tests)
        parts += [f"percent = {row.percent}"] if row.percent is not None else []
        parts += [f'why = "{row.why}"'] if row.why else []
        lines.append(f'"{module}" = {{ {", ".join(parts)} }}\n')
    return _HEAD + "".join(lines)


def homeless(listed: Mapping[str, Listed], modules: Iterable[str]) -> list[str]:
    """What is wrong with the list before anything is measured: no tests, or names that are gone."""
    known = list(modules)
    problems = [f"{name}: not a module" for name in listed if name not in known]
    for module in known:
        row = listed.get(module, Listed())
        tests = row.tests or (() if row.why else (mirror(module),))
        missing = [test for test in tests if not (ROOT / test).is_file()]
        problems += [f"{module}: {test} does not exist" for test in missing]
    return problems


class Measured:
    """What a run has measured."""

    def __init__(self) -> None:
        self._coverage = Coverage(data_file=str(DATA / "data"), config_file=str(ROOT / "pyproject.toml"))
        self._coverage.load()

    def table(self) -> float:
        """Print every file; the total in percent."""
        return self._coverage.report(skip_covered=True)

    def percent(self, module: str, tests: Iterable[str]) -> float:
        """How much of a module these test modules cover."""
        contexts = ["^$", *(f"^{test}" for test in tests)]
        return self._coverage.report([str(ROOT / module)], file=StringIO(), contexts=contexts)

    def users(self, module: str) -> list[str]:
        """The test modules that run any of it."""
        data = self._coverage.get_data()
        data.set_query_contexts(None)
        contexts = {each for found in data.contexts_by_lineno(str(ROOT / module)).values() for each in found}
        modules = {each.partition("::")[0] for each in contexts if each}
        return sorted(each for each in modules if not any(word in each for word in _BROAD))


def judge(module: str, percent: float, row: Listed) -> list[str]:
    """What is wrong with a module's figure."""
    least = OWN if row.percent is None else row.percent
    return [f"{module}: its own tests cover {percent:.1f} %, not {least:.0f} %"] * (percent < least - SWAY)


def needless(module: str, percent: float, mirrored: float, row: Listed) -> list[str]:
    """What the list says of a module and need not: its tests cover `percent`, its mirror alone `mirrored`."""
    if row.percent is not None:
        is_behind = percent >= OWN + SWAY or percent >= row.percent + SLACK
        return [f"{module}: its own tests cover {percent:.1f} %: raise its figure, or strike it"] * is_behind
    return [f"{module}: {mirror(module)} is enough: strike it"] * (mirrored >= OWN + SWAY)


def best_row(measured: Measured, module: str) -> Listed | None:
    """The row that a module needs: the fewest test modules that cover OWN percent, or else the best."""
    chosen = [test for test in (mirror(module),) if (ROOT / test).is_file()]
    percent = measured.percent(module, chosen)
    if not chosen and percent >= OWN:
        return Listed(why=_DECLARATIONS)
    users = measured.users(module)
    while percent < OWN and len(chosen) < HOMES:
        # a unit test before an integration test that covers a little more
        tried = (
            (measured.percent(module, [*chosen, test]) - 5 * ("/integration/" in test), test)
            for test in users
        )
        gain, test = max(tried, default=(0.0, ""))
        if not test or (chosen and gain <= percent + 1):
            break
        chosen.append(test)
        percent = measured.percent(module, chosen)
    tests = () if chosen == [mirror(module)] else tuple(sorted(chosen))
    figure = None if percent >= OWN else max(int(percent) - 1, 0)
    return Listed(tests, figure) if tests or figure is not None else None


def write_list(measured: Measured) -> None:
    rows = {module: best_row(measured, module) for module in source_modules()}
    LIST.write_text(list_text({name: row for name, row in rows.items() if row}), encoding="utf-8")


def measure(arguments: list[str], *, every: bool) -> int:
    """Run the tests, and bring together what every process has measured. The exit status is pytest's."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    environ = os.environ | {
        "COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"),
        "SEALWIRE_ROOT": str(ROOT),
    }
    environ |= {EVERY: "1"} if every else {}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--processes",
        "4",
        "-m",
        "not slow",
        *arguments,
    ]
    status = subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode
    # a process that is killed while it writes leaves a file that cannot be read: combine says so, and goes on
    subprocess.run(
        [sys.executable, "-m", "coverage", "combine", "--quiet"], cwd=ROOT, env=environ, check=False
    )
    return status


def problems_of(measured: Measured) -> list[str]:
    """Everything that is below its threshold. What is listed without need is printed."""
    listed, modules = read_list(read(LIST)), source_modules()
    problems = homeless(listed, modules)
    total = measured.table()
    if total < TOTAL:
        problems.append(f"all tests cover {total:.1f} %, not {TOTAL} %")
    for module in modules:
        row, mirrored = listed.get(module, Listed()), (mirror(module),)
        percent = measured.percent(module, row.tests or mirrored)
        problems += judge(module, percent, row)
        # each look at a module parses it: only where something is listed, and only what that needs
        if not row.tests and row.percent is None:
            continue
        looks = row.percent is None and (ROOT / mirrored[0]).is_file()
        alone = measured.percent(module, mirrored) if looks else 0.0
        for note in needless(module, percent, alone, row):
            print(f"coverage: note: {note}")
    return problems


def main() -> int:
    os.environ["SEALWIRE_ROOT"] = str(ROOT)
    arguments = sys.argv[1:]
    judging = arguments in (["--judge"], ["--write"])
    every = arguments[:1] == ["--every"]
    status = 0 if judging else measure(arguments[every:], every=every)
    measured = Measured()
    if arguments == ["--write"]:
        write_list(measured)
    problems = problems_of(measured)
    for problem in problems:
        print(f"coverage: error: {problem}", file=sys.stderr)
    return status or (1 if problems else 0)


if __name__ == "__main__":
    sys.exit(main())
