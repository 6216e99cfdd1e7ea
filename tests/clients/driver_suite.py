"""The Python driver's own tests, run directly on a server and through Sealwire, and compared one by one.

They are in the driver's source distribution, which is downloaded into build/driver when wanted, and never
becomes part of this repository: the files of the drivers' specifications in it have another licence.

Usage: make driver-suite, or python -m tests.clients.driver_suite [FILE...]; all that are synchronous
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from xml.etree import ElementTree

from tests.build_context import ROOT
from tests.clients.environment import LOCK, client_python
from tests.support.proxied import proxied
from tests.support.runs import ran
from tests.support.secantus import secantus

FOLDER = ROOT / "build" / "driver"
DIFFERENCES = Path(__file__).with_name("pymongo_differences.toml")
SAMPLE = tuple(
    f"test/test_{name}.py"
    for name in ("bulk", "collation", "cursor", "database", "gridfs_bucket", "raw_bson", "session")
)
"""Files that take seconds and speak to the server for most of them."""

_MARKED = "default or default_async"  # not those that need a cloud, a key service or several members
AGAIN = 3
"""So often what differs is run again, as long as it does."""
SYNCHRONOUS = ("test", "--ignore=test/asynchronous")
"""All tests of the synchronous client."""

Outcomes = Mapping[str, str]
"""Test -> passed, failed or skipped."""

# The suite's databases hold nothing covered, but for the one collection of the second policy.
_POLICY = """\
version: 1
allow_commands: [configureFailPoint]
classes:
  nhs_number: {{mode: deterministic, type: string}}
collections:
  {namespace}:
    nhs_number: nhs_number
"""
NOTHING = _POLICY.format(namespace="clinic.patients")
ONE_COLLECTION = _POLICY.format(namespace="pymongo_test.test")
"""Covers a field that no test has, in the collection that most of them use."""


def expected(policy: str = ONE_COLLECTION) -> dict[str, str]:
    """What pymongo_differences.toml says: test -> why it has another outcome through Sealwire."""
    document = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))
    groups = [each for each in document["difference"] if policy != NOTHING or not each.get("if_covered")]
    return {test: group["reason"] for group in groups for test in group["tests"]}


def suite() -> Path:
    """The folder of the driver's source distribution, of the version that requirements/clients.txt pins.

    Raises:  CalledProcessError where it cannot be downloaded
    """
    lock = LOCK.read_text(encoding="utf-8")
    pinned = re.search(r"^pymongo==(\S+) \\\n(?: +--hash=\S+(?: \\)?\n)+", lock, re.MULTILINE)
    if pinned is None:
        raise ValueError("requirements/clients.txt pins no pymongo")
    folder = FOLDER / f"pymongo-{pinned[1]}"
    if not folder.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        wanted = FOLDER / "pymongo.txt"
        wanted.write_text(pinned[0])
        pip: list[str | Path] = [
            client_python(),
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--quiet",
            "download",
        ]
        pip += ["--no-deps", "--no-binary", "pymongo", "--require-hashes", "--requirement", wanted]
        subprocess.run([*pip, "--dest", FOLDER], check=True)
        with tarfile.open(folder.with_suffix(folder.suffix + ".tar.gz")) as archive:
            archive.extractall(FOLDER, filter="data")
    return folder


def outcomes(port: int, files: Sequence[str]) -> Outcomes:
    """Run tests of the suite against 127.0.0.1 at a port. Raises RuntimeError where none has run."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        # the suite's own settings less its log; a test that hangs has failed
        command: list[str | Path] = [
            client_python(),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "addopts=",
            "-o",
        ]
        command += ["log_cli=false", "-m", _MARKED, "--timeout", "120", "--timeout-method", "signal"]
        done = ran(
            [*command, f"--junitxml={results}", *files],
            cwd=suite(),
            env=os.environ | {"DB_IP": "127.0.0.1", "DB_PORT": str(port)},
        )
        if not results.exists():
            raise RuntimeError(done.stdout[-2000:])
        return read_outcomes(results)


def read_outcomes(results: Path) -> Outcomes:
    """Of pytest's JUnit file. An error in a set-up or a tear-down is a failure."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314 -- this process' own child wrote it
        name = f"{case.get('classname')}::{case.get('name')}"
        inner = {part.tag for part in case}
        outcome = "failed" if inner & {"failure", "error"} else "skipped" if "skipped" in inner else "passed"
        found[name] = "failed" if found.get(name) == "failed" else outcome
    return found


@contextmanager
def both_ports(folder: Path, policy: str) -> Iterator[tuple[int, int]]:
    """Two ports of one fresh server: its own, and Sealwire's before it."""
    folder.mkdir(parents=True, exist_ok=True)
    with secantus(folder) as database, proxied(folder, policy, database.address) as proxy:
        yield database.port, proxy.port


def differences(ports: tuple[int, int], files: Sequence[str]) -> tuple[Outcomes, dict[str, str]]:
    """Run tests directly and through Sealwire: what came of them through it, and what differs each time.

    What nobody wrote down is run again both ways, up to three times: a busy machine is no difference.
    """
    direct, through = outcomes(ports[0], files), outcomes(ports[1], files)
    suspects = [test for test in through if direct.get(test) != through[test]]
    known = expected()
    for _ in range(AGAIN):
        new = [test for test in suspects if _synchronous(test) not in known]
        if not new:
            break
        again = [outcomes(port, list(map(node_id, new))) for port in ports]
        settled = {test for test in new if again[0].get(test) == again[1].get(test)}
        suspects = [test for test in suspects if test not in settled]
    return through, {test: f"{direct.get(test, 'missing')}, {through[test]}" for test in suspects}


def node_id(test: str) -> str:
    """What pytest calls a test that its JUnit file calls `package.module.Class::name`."""
    path, _, name = test.partition("::")
    module, _, of_class = path.rpartition(".")
    return f"{module.replace('.', '/')}.py::{of_class}::{name}"


def unexpected(found: Mapping[str, str], tests: Outcomes, policy: str = ONE_COLLECTION) -> list[str]:
    """Differences that nobody wrote down, and those written down that are gone; for those tests that ran."""
    known = expected(policy)
    new = [f"{test}: {what}" for test, what in found.items() if _synchronous(test) not in known]
    gone = [test for test in known if test in tests and test not in found]
    return [*new, *(f"{test}: no difference any more" for test in gone)]


def _synchronous(test: str) -> str:
    """The name of the same test of the synchronous client: the one is generated from the other."""
    return test.replace("test.asynchronous.", "test.", 1).replace(".TestAsync", ".Test", 1)


def main(files: Sequence[str]) -> int:
    """With both policies at once; what is not as written down is printed. Exit code 1 then."""
    client_python()  # before two ask for it
    suite()
    policies = {"nothing covered": NOTHING, "one collection covered": ONE_COLLECTION}
    with ThreadPoolExecutor(len(policies)) as pool:
        wrong = [
            each for found in pool.map(_run, policies, policies.values(), repeat(files)) for each in found
        ]
    print("\n".join(wrong) or "every difference is one that pymongo_differences.toml names")
    return 1 if wrong else 0


def _run(name: str, policy: str, files: Sequence[str]) -> list[str]:
    """What is not as written down with one policy."""
    with tempfile.TemporaryDirectory() as folder, both_ports(Path(folder) / "server", policy) as ports:
        through, found = differences(ports, files)
    counts = Counter(through.values())
    print(f"{name}: {dict(counts)}, {len(found)} of them not as directly", flush=True)
    return [f"{name}: {each}" for each in unexpected(found, through, policy)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or SYNCHRONOUS))
