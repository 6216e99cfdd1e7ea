"""Shells complete commands and options; asking for that runs no command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.runs import Run
from tests.support.measuring import measuring


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_script_asks_the_program(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.code == 0
    assert f"_SEALWIRE_COMPLETE={shell}_complete" in done.out


def test_another_shell_is_wrong_usage(run: Run) -> None:
    assert run("completion", "csh").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_command_and_an_option() -> None:
    program = Path(sys.executable).with_name("sealwire")
    script = f"""
    source <({program} completion bash)
    COMP_WORDS=({program} "$1" "$2"); COMP_CWORD=$3
    _sealwire_completion {program}; echo "${{COMPREPLY[@]}}"
    """
    environment = measuring() | {"PATH": os.environ["PATH"]}
    for words, place, found in ((("doc", ""), "1", "doctor"), (("doctor", "--j"), "2", "--json")):
        command = ["bash", "-c", script, "bash", *words, place]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.split()) == (0, [found]), done.stderr


def test_what_looks_like_a_shell_that_asks_runs_nothing(tmp_path: Path) -> None:
    environment = measuring() | {"PATH": os.environ["PATH"], "_SEALWIRE_COMPLETE": "bash_source"}
    program = Path(sys.executable).with_name("sealwire")
    command = [str(program), "keys", "create-kek"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "_sealwire_completion" in done.stdout
