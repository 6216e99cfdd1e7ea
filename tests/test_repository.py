"""What holds for the repository as a whole: nothing unpublishable, licence, changelog, CI entry point."""

import hashlib
import json
import os
import re
import subprocess
import tomllib

import pytest

from tests.build_context import ROOT
from tools import tracked_files

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


@pytest.mark.parametrize(
    "innocent", ["docs" + tracked_files.MACHINE_PATHS[0] + "x", "pypi", "/rooted", "homework/x/"]
)
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
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
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
