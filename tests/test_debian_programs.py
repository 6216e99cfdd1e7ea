"""A Debian program comes from the machine or is unpacked; a test without it is skipped, and fails in CI."""

import subprocess
from pathlib import Path

import pytest

from tests import node_programs
from tests.support import debian
from tests.support.skips import skip_or_fail
from tools import debian_programs as unpacking


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the program and without apt."""
    monkeypatch.setattr(unpacking, "UNPACKED", tmp_path)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


@pytest.mark.usefixtures("bare")
def test_a_test_without_the_program_is_skipped_on_a_workstation() -> None:
    with pytest.raises(pytest.skip.Exception):
        debian.require_program("nginx", "nginx", "-v")


@pytest.mark.usefixtures("bare")
def test_a_test_without_the_program_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        debian.require_program("nginx", "nginx", "-v")


def test_what_was_unpacked_before_is_used(bare: Path) -> None:
    program = bare / "nginx" / "usr" / "sbin" / "nginx"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    assert debian.require_program("nginx", "nginx", "-v") == program


def test_a_program_that_does_not_run_is_none(bare: Path) -> None:
    program = bare / "nginx" / "usr" / "sbin" / "nginx"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    with pytest.raises(pytest.skip.Exception):
        debian.require_program("nginx", "nginx", "-v")


@pytest.mark.slow
@pytest.mark.integration
def test_a_package_is_fetched_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED", tmp_path)
    found = unpacking.unpack("nginx", "nginx")
    if found is None:
        skip_or_fail("apt offers no nginx here")
    done = subprocess.run([found, "-v"], check=False, capture_output=True, text=True)
    assert "nginx/" in done.stderr


def test_modules_and_libraries_are_found_beside_what_was_unpacked(bare: Path) -> None:
    usr = bare / "haproxy+liblua" / "usr"
    program, library = usr / "sbin" / "haproxy", usr / "lib" / "x86_64-linux-gnu" / "liblua.so.5"
    for path in (program, library):
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert unpacking.find_program("haproxy", "haproxy", "liblua") == program
    assert unpacking.find_program("liblua.so.5", "haproxy", "liblua") == library
    assert unpacking.find_file(program, "lib/*/liblua.so.*") == library
    assert unpacking.find_file(program, "lib/*/other.so") is None
    assert unpacking.library_environment(program)["LD_LIBRARY_PATH"] == str(library.parent)
    assert unpacking.library_environment(library)["LD_LIBRARY_PATH"] == str(library.parent)


def test_a_program_of_the_system_needs_no_libraries_of_ours(bare: Path) -> None:
    environment = unpacking.library_environment(Path("/usr/sbin/nginx"))
    assert str(bare) not in environment.get("LD_LIBRARY_PATH", "")


# A machine without mongosh skips its tests with a reason, unless it is the one that must run them.


@pytest.fixture
def without_mongosh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_programs, "MONGOSH", tmp_path / "mongosh")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/node")


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_is_skipped_on_a_workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        node_programs.require_mongosh()


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        node_programs.require_mongosh()


@pytest.mark.integration
def test_the_pinned_mongosh_runs() -> None:
    mongosh = node_programs.require_mongosh()
    done = subprocess.run([mongosh, "--version"], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().count(".") == 2
