"""`make setup` takes the first Python that can make an environment, and says in two lines when none can."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.build_context import ROOT

# Stands for an interpreter: answers `-c` by what it claims to have, and writes down its other calls.
FAKE_PYTHON = """\
#!/bin/sh
if [ "$1" = -c ]; then
    case "$2" in
        *ensurepip*) exit {ensurepip} ;;
        *"import pip"*) exit {pip} ;;
        *) exit {old} ;;
    esac
fi
echo "$(basename "$0") $*" >> "{log}"
[ "$2" != venv ] || mkdir -p "$(for last; do :; done; echo "$last")"
"""


class Machine:
    """A PATH of fake interpreters beside the ordinary tools of a shell."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.log = directory / "log"
        self.venv = directory / "venv"
        self.bin.mkdir()
        for tool in ("sh", "dirname", "basename", "sed", "mkdir"):
            (self.bin / tool).symlink_to(
                next(p for p in (Path("/usr/bin") / tool, Path("/bin") / tool) if p.exists())
            )

    def add_python(self, name: str, *, old: bool = False, ensurepip: bool = True, pip: bool = True) -> None:
        answers = {"ensurepip": int(not ensurepip), "pip": int(not pip), "old": int(old)}
        path = self.bin / name
        path.write_text(FAKE_PYTHON.format(log=self.log, **answers))
        path.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "tools" / "make_venv.sh", self.venv],
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": str(self.bin)} | environment,
        )

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_first_interpreter_that_is_new_enough_and_has_ensurepip_is_taken(machine: Machine) -> None:
    machine.add_python("python3.13", ensurepip=False)
    machine.add_python("python3.12", old=True)
    machine.add_python("python3.11")
    machine.add_python("python3")
    assert machine.run().returncode == 0
    assert machine.calls() == [f"python3.11 -m venv --clear {machine.venv}"]


def test_a_named_interpreter_is_the_only_one_looked_at(machine: Machine) -> None:
    machine.add_python("python3.13")
    machine.add_python("mine")
    assert machine.run(PYTHON="mine").returncode == 0
    assert machine.calls() == [f"mine -m venv --clear {machine.venv}"]


def test_without_ensurepip_the_pip_of_the_machine_brings_the_locked_one(machine: Machine) -> None:
    machine.add_python("python3", ensurepip=False)
    assert machine.run().returncode == 0
    made, installed = machine.calls()
    assert made == f"python3 -m venv --clear --without-pip {machine.venv}"
    assert "--require-hashes" in installed
    requirement = (machine.venv / "pip.txt").read_text().splitlines()
    assert requirement[0].startswith("pip==")
    assert all("--hash=sha256:" in line for line in requirement[1:])
    assert len(requirement) > 1


@pytest.mark.parametrize("has", ["nothing", "only an old one", "one without ensurepip and pip"])
def test_a_machine_that_cannot_is_told_why_and_what_to_do(machine: Machine, has: str) -> None:
    if has != "nothing":
        machine.add_python("python3", old="old" in has, ensurepip=False, pip=False)
    done = machine.run()
    assert done.returncode == 78
    assert [line.split(":")[1].strip() for line in done.stderr.splitlines()] == ["error", "hint"]
    assert not machine.venv.exists()


def test_an_environment_that_works_is_left_alone(machine: Machine) -> None:
    machine.add_python("python3")
    machine.venv.joinpath("bin").mkdir(parents=True)
    os.link(machine.bin / "python3", machine.venv / "bin" / "python")
    assert machine.run().returncode == 0
    assert not machine.log.exists()
