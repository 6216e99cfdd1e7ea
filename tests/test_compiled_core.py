"""Which core runs: all of it is compiled or none, in child processes too, and a run can insist on one."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from sealwire import core_is_compiled, core_name, short_siv_is_in_use
from tests.build_context import ROOT
from tests.conftest import CORE
from tests.support.runs import ran
from tools import compiled_tree

OTHER = {"plain": "compiled", "compiled": "plain"}[CORE]


def core_modules() -> list[str]:
    """Names of the modules that setup.py has compiled where that is asked for."""
    files: list[Path] = runpy.run_path(str(ROOT / "setup.py"))["compiled_files"]()
    return ["sealwire." + ".".join(path.with_suffix("").parts) for path in files]


def test_the_core_is_compiled_as_a_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SEALWIRE_SHORT_SIV", str(int(short_siv_is_in_use())))
    modules = core_modules()
    compiled = {name for name in modules if not str(import_module(name).__file__).endswith(".py")}
    assert compiled == (set(modules) if core_is_compiled() else set())
    assert {"sealwire.wire.framing", "sealwire.crypto.cipher", "sealwire.policies.commands.planner"} < set(
        modules
    )


def test_short_aes_siv_is_a_choice_of_the_build_and_of_a_compiled_core_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert core_is_compiled() or not short_siv_is_in_use()
    for choice in ("0", "1"):
        monkeypatch.setenv("SEALWIRE_SHORT_SIV", choice)
        assert ("sealwire.crypto.short_siv" in core_modules()) is (choice == "1")
    monkeypatch.delenv("SEALWIRE_COMPILE", raising=False)
    command = [sys.executable, "setup.py", "--name"]
    done = ran(command)
    assert done.returncode == 1
    assert "SEALWIRE_COMPILE=1" in done.stderr


def test_short_aes_siv_is_turned_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "sealwire", "--version"]
    monkeypatch.setenv("SEALWIRE_SHORT_SIV", "0")
    done = ran(command, check=True)
    assert done.stdout.endswith(f", {CORE} core\n")


def test_child_processes_run_the_same_core() -> None:
    command = [sys.executable, "-m", "sealwire", "--version"]
    done = ran(command, check=True)
    assert done.stdout.endswith(f", {core_name()}\n")
    assert core_name().startswith(f"{CORE} core")


def test_a_run_that_is_meant_for_the_other_core_fails() -> None:
    command = [sys.executable, "-m", "pytest", "--processes", "1", "tests/wire/test_framing.py"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    outcomes = [
        subprocess.run(
            command, cwd=ROOT, env=environment | {"SEALWIRE_CORE": core}, check=False, capture_output=True
        )
        for core in (CORE, OTHER)
    ]
    assert outcomes[0].returncode == pytest.ExitCode.OK
    assert f"core: {CORE}" in outcomes[0].stdout.decode()
    assert outcomes[1].returncode not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.mark.parametrize("asked", [["--run", "pytest"], ["--can-compile"]])
def test_without_a_compiler_one_line_says_what_to_install(asked: list[str]) -> None:
    command = [sys.executable, "tools/compiled_tree.py", *asked]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = ran(command, cwd=ROOT, env=environment)
    assert done.returncode == 78
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert "apt-get install gcc" in line


def test_without_a_compiler_the_plain_core_may_be_run_and_is_named() -> None:
    command = [sys.executable, "tools/compiled_tree.py", "--or-plain", "--run", "sealwire", "--version"]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = ran(command, cwd=ROOT, env=environment, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("core: plain, ")
    assert second.endswith(f", {core_name()}")


# When the compiled tree is made anew: with a program in place of pip that notes what it is asked.


NAMES = ["setup.py", "pyproject.toml"]
Asked = Callable[[], list[str]]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What pip was asked to install, in order; it takes as long as the file `seconds` says."""
    notes = tmp_path / "asked"
    notes.touch()
    (tmp_path / "seconds").write_text("0")
    pip = tmp_path / "python"
    pip.write_text(f'#!/bin/sh\necho "$@" | sed "s/.* //" >> {notes}\nsleep $(cat {tmp_path}/seconds)\n')
    pip.chmod(0o755)
    for name in ("TREE", "STAMP", "WHEELS", "WHEEL_STAMPS"):
        monkeypatch.setattr(compiled_tree, name, tmp_path / name.lower())
    monkeypatch.setattr(sys, "executable", str(pip))
    monkeypatch.setattr(compiled_tree, "core_of_tree", lambda: "compiled")
    monkeypatch.setattr(compiled_tree, "ROOMS", [])
    return lambda: notes.read_text().split()


def test_what_is_there_is_not_made_again_until_a_file_changes(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_tree.compile_core(NAMES)
    compiled_tree.compile_core(NAMES)
    assert asked() == ["."]
    monkeypatch.setenv("SEALWIRE_SHORT_SIV", "0")
    compiled_tree.compile_core(NAMES)
    assert asked() == [".", "."]


def test_a_wheel_of_the_same_files_is_taken_in_place_of_compiling(asked: Asked) -> None:
    compiled_tree.WHEELS.mkdir()
    wheel = compiled_tree.WHEELS / "sealwire.whl"
    wheel.write_bytes(b"a wheel")
    compiled_tree.stamp_wheel(compiled_tree.digest_of(["setup.py", "pyproject.toml"]), wheel)
    compiled_tree.compile_core(NAMES)
    assert asked() == [str(wheel)]


def test_what_is_built_is_known_by_its_tree_or_its_wheel(asked: Asked) -> None:
    digest = compiled_tree.core_digest(NAMES)
    assert not compiled_tree.is_built(digest)
    compiled_tree.compile_core(NAMES)
    assert compiled_tree.is_built(digest)
    compiled_tree.STAMP.unlink()
    compiled_tree.WHEELS.mkdir()
    (compiled_tree.WHEELS / "sealwire.whl").write_bytes(b"a wheel")
    compiled_tree.stamp_wheel(digest, compiled_tree.WHEELS / "sealwire.whl")
    assert compiled_tree.is_built(digest)
    assert asked() == ["."]


def test_a_compiler_that_fails_leaves_nothing_that_counts(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(subprocess.CalledProcessError):
        compiled_tree.compile_core(NAMES)
    assert not compiled_tree.STAMP.exists()
    assert asked() == []
