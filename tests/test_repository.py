"""What holds for the repository as a whole: nothing unpublishable, licence, changelog, CI entry point."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build_context import ROOT, copy_build_context
from tests.support.rows import rows
from tests.support.runs import ran
from tools import dead_code, house_size, tracked_files
from tools.dead_code import KEPT, kept
from tools.house_size import CEILINGS, counts, sources

# The text of the Apache License 2.0 as its authors publish it.
APACHE_2_0_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def project() -> dict[str, object]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert isinstance(table, dict)
    return table


def test_no_tracked_file_names_a_registry_host_or_a_path_of_one_machine() -> None:
    assert tracked_files.findings() == []


@pytest.mark.parametrize("forbidden", [*tracked_files.REGISTRY_HOSTS, *tracked_files.MACHINE_PATHS])
def test_a_forbidden_word_is_found_with_its_line(forbidden: str) -> None:
    assert list(tracked_files.findings_in(f"first\nsee {forbidden}x here\n")) == [(2, forbidden)]


@rows("innocent", "docs" + tracked_files.MACHINE_PATHS[0] + "x", "pypi", "/rooted", "homework/x/")
def test_an_innocent_word_is_not_found(innocent: str) -> None:
    assert list(tracked_files.findings_in(innocent)) == []


def test_the_licence_is_the_unchanged_apache_2_0() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_0_SHA256
    assert project()["license"] == "Apache-2.0"


def test_the_newest_release_in_the_changelog_is_this_version_and_opens_with_security() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^(##+) (.+)$", text, re.MULTILINE)
    releases = [title for level, title in headings if level == "##" and title != "Unreleased"]
    assert releases[0].partition(" ")[0] == project()["version"]
    position = headings.index(("##", releases[0]))
    assert headings[position + 1] == ("###", "Security")


def test_the_ci_script_checks_then_tests() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert re.findall(r"^(?:[A-Z_]+=\S+ )?make (\S+)", text, re.MULTILINE) == [
        "setup",
        "wheels",
        "check",
        "docs",
        "test",
        "test-compiled",
        "test-slow",
    ]


def test_make_help_names_every_target_that_the_readers_of_the_docs_need() -> None:
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True)
    named = set(re.findall(r"^  make (\S+)", done.stdout.decode(), re.MULTILINE))
    assert {"setup", "demo", "test", "compiled", "test-compiled", "check", "docs", "bench"} <= named
    assert {"test-slow", "coverage", "mutation", "lock", "clean", "help"} <= named


@pytest.mark.parametrize("target", ["test-compiled", "test-image"])
def test_the_tests_that_a_target_names_are_there(target: str) -> None:
    command = ["make", "--no-print-directory", "--dry-run", target]
    done = ran(command, cwd=ROOT, check=True)
    named = re.findall(r"\btests/\S+", done.stdout)
    assert named
    assert [each for each in named if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("folder", ["tests", "tools"])
def test_the_node_programs_are_pinned_and_hashed_without_addresses(folder: str) -> None:
    manifest = json.loads((ROOT / folder / "node" / "package.json").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", pin) for pin in manifest["dependencies"].values())
    lock = json.loads((ROOT / folder / "node" / "package-lock.json").read_text(encoding="utf-8"))
    packages = [entry for path, entry in lock["packages"].items() if path]
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages)
    assert not any("resolved" in entry for entry in packages)


def test_a_compiled_library_is_a_binary_and_a_source_is_none() -> None:
    assert tracked_files.is_binary(b"\x7fELF\x02\x01\x01\0")
    assert not tracked_files.is_binary("text with µs".encode())


# The import contracts see every room: a forbidden import that is planted in one is found.


LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
FORBIDDEN = [
    ("wire", "asyncio"),
    ("wire", "sealwire.crypto"),
    ("crypto", "sealwire.keys"),
    ("crypto", "socket"),
    ("keys", "sealwire.policies"),
    ("keys", "hvac"),
    ("sidecars", "hvac"),
    ("sidecars/luks", "sealwire.sidecars.backup.sealed.manifest"),
    ("sidecars/backup/sealed", "sealwire.sidecars.backup.archive.contents"),
    ("sidecars/backup/keeping", "sealwire.sidecars.backup.dumping.readers"),
    ("policies", "cryptography"),
    ("policies", "sealwire.proxy.session"),
    ("policies/filters", "sealwire.policies.commands.planner"),
    ("policies/file", "sealwire.policies.planning.plan"),
    ("proxy/server/config", "sealwire.proxy.server.workers.app"),
    ("files", "sealwire.policies"),
    ("audit", "sealwire.policies"),
    ("audit", "sealwire.proxy.session"),
    ("proxy/session", "time"),
    ("proxy/session", "sealwire.proxy.server"),
    ("proxy/server", "cryptography"),
    ("proxy/server", "sealwire.cli"),
]


@pytest.fixture(scope="module")
def copied_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms with their links, without a contract broken."""
    root = tmp_path_factory.mktemp("rooms")
    copy_build_context(root)
    return root


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return ran([LINT_IMPORTS, "--no-cache"], cwd=root, env={"COLUMNS": "200"})


def test_the_contracts_are_kept(copied_rooms: Path) -> None:
    done = lint_imports(copied_rooms)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def with_planted(copied_rooms: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """What one run says of all forbidden imports, each in a module of its own."""
    planted = [copied_rooms / room / f"planted_{place}.py" for place, (room, _) in enumerate(FORBIDDEN)]
    for path, (_, module) in zip(planted, FORBIDDEN, strict=True):
        path.write_text(f"import {module}\n", encoding="utf-8")
    yield lint_imports(copied_rooms)
    for path in planted:
        path.unlink()


@pytest.mark.parametrize(("place", "room", "module"), [(place, *row) for place, row in enumerate(FORBIDDEN)])
def test_a_planted_import_breaks_a_contract(
    with_planted: subprocess.CompletedProcess[str], place: int, room: str, module: str
) -> None:
    assert with_planted.returncode == 1
    assert f"sealwire.{room.replace('/', '.')}.planted_{place} -> {module}" in with_planted.stdout


# What is counted and looked for in the sources: modules and lines with their ceilings, and dead code.


MODULES = {
    "crypto": '"""The room."""',
    "crypto.envelope": "import struct\nMARKER = 1\n",
    "wire.kinds": "from sealwire.crypto.envelope import MARKER\nX = 1\n",
    "wire.walk": "from sealwire.wire import kinds\n\n\ndef f():\n    from sealwire.cli import main\n"
    + "\n" * 60,
    "policies.plan": "from sealwire.wire.walk import f\nX = 1\n",
    "policies.rows": "from sealwire.policies.plan import X\nfrom sealwire.wire import kinds\n",
    "cli": "from sealwire.policies.rows import X\nfrom sealwire.wire.kinds import X\n",
}


def test_each_count_is_what_it_says() -> None:
    assert counts(MODULES) == {
        "modules": 6,
        "lines": 2 + 2 + 65 + 2 + 2 + 2,
        "modules of 50 lines or fewer": 5,
        "modules with one importer": 5,  # all but `kinds`
        "modules that import the envelope": 1,
        "longest chain of imports": 6,
        "floors of policies": 2,
    }


@pytest.mark.parametrize(("found", "is_told"), [(100, False), (101, True), (98, False), (90, True)])
def test_a_count_above_its_ceiling_or_far_below_is_an_error(found: int, is_told: bool) -> None:
    assert bool(house_size.judge({"lines": found}, {"lines": 100})) is is_told


def test_the_product_fits() -> None:
    assert house_size.judge(counts(sources()), CEILINGS) == []


DEAD = ("forgotten", "wire/x.py:3: unused function forgotten")


def test_dead_code_is_an_error_unless_the_list_has_its_name() -> None:
    assert dead_code.judge([DEAD], {}) == [DEAD[1]]
    assert dead_code.judge([DEAD], {"forgotten": "a library calls it"}) == []


def test_a_name_that_need_not_be_listed_is_an_error() -> None:
    (problem,) = dead_code.judge([DEAD], {"forgotten": "a library calls it", "used": "once"})
    assert "used" in problem


def test_every_name_of_the_list_has_a_reason() -> None:
    reasons = kept(KEPT.read_text(encoding="utf-8"))
    assert reasons
    assert all(reasons.values())
