"""Which core runs: all of it is compiled or none, in child processes too, and a run can insist on one."""

import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sealwire import core_is_compiled, core_name, short_siv_is_in_use
from tests.build_context import ROOT
from tests.conftest import CORE

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
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "SEALWIRE_COMPILE=1" in done.stderr


def test_short_aes_siv_is_turned_off_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "sealwire", "--version"]
    monkeypatch.setenv("SEALWIRE_SHORT_SIV", "0")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.endswith(f", {CORE} core\n")


def test_child_processes_run_the_same_core() -> None:
    command = [sys.executable, "-m", "sealwire", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.endswith(f", {core_name()}\n")
    assert core_name().startswith(f"{CORE} core")


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_run_that_is_meant_for_the_other_core_fails(workers: list[str]) -> None:
    command = [sys.executable, "-m", "pytest", *workers, "tests/wire/test_errors.py"]
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
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 78
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert "apt-get install gcc" in line


def test_without_a_compiler_the_plain_core_may_be_run_and_is_named() -> None:
    command = [sys.executable, "tools/compiled_tree.py", "--or-plain", "--run", "sealwire", "--version"]
    environment = os.environ | {"CC": "no-such-compiler"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("core: plain, ")
    assert second.endswith(f", {core_name()}")
