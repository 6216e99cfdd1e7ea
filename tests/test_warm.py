"""`sealwire` from a process that has imported it: as the program itself, in all that a test can see."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.warm import SEALWIRE, WarmProcess

pytestmark = pytest.mark.integration

CLONE_NEWNET = 0x40000000
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["keys", "--help"],
        ["keys", "create", "--keyring", "here/keyring.json"],
        ["nonsense"],
        ["policy", "check", "missing.yaml"],
    ],
    ids=" ".join,
)
def test_it_ends_and_says_the_same(tmp_path: Path, words: list[str]) -> None:
    environ = {"PATH": os.environ["PATH"], "COLUMNS": "60"}
    ended = [
        run([*SEALWIRE, *words], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
        for run in (warm.run, subprocess.run)
    ]
    assert (ended[0].returncode, ended[0].stdout, ended[0].stderr) == (
        ended[1].returncode,
        ended[1].stdout,
        ended[1].stderr,
    )


@contextmanager
def reading(folder: Path) -> Iterator[WarmProcess]:
    """A command that waits for its standard input."""
    (folder / "policy.yaml").write_text(POLICY)
    words, pipe = ("policy", "explain", "policy.yaml", "-", "--json"), subprocess.PIPE
    with WarmProcess([*SEALWIRE, *words], cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    with reading(tmp_path) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait() == -number
        process.kill()  # nobody: its number may be another's by now


def test_it_reads_what_it_is_given(tmp_path: Path) -> None:
    with reading(tmp_path) as process:
        out, _ = process.communicate(b'{"find": "patients", "$db": "clinic"}', timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["namespace"] == "clinic.patients"


def test_it_is_in_the_network_of_the_thread_that_starts_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a network of our own needs root")
    places = []

    def apart() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
            places.append(Path("/proc/thread-self/ns/net").readlink())
            with reading(tmp_path) as process:
                places.append(Path(f"/proc/{process.pid}/ns/net").readlink())
                process.kill()

    thread = threading.Thread(target=apart)
    thread.start()
    thread.join()
    if not places:
        pytest.skip("this machine makes no networks")
    assert places == [places[0]] * 2


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell that finds the forked `sealwire`."""
    return {"PATH": f"{warm.launchers()}:{os.environ['PATH']}", "HOME": str(tmp_path), "COLUMNS": "60"}


@pytest.mark.parametrize(
    "words",
    ["--version", "nonsense", "policy check missing.yaml", "policy check <(echo 'version: 2')"],
)
def test_a_shell_reads_the_same(shell: dict[str, str], tmp_path: Path, words: str) -> None:
    real = Path(sys.executable).with_name("sealwire")
    ended = [
        subprocess.run(
            ["bash", "-c", f"umask 077; {program} {words} > out; echo $?; stat -c %a out; cat out"],
            env=shell,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for program in ("sealwire", real)
    ]
    assert (ended[0].stdout, ended[0].stderr) == (ended[1].stdout, ended[1].stderr)


def test_what_it_makes_for_a_shell_has_the_shells_mask(shell: dict[str, str], tmp_path: Path) -> None:
    for mask in ("022", "077"):
        made = f"umask {mask}; sealwire config init --topology demo --output {mask}.yaml"
        subprocess.run(["bash", "-c", made], env=shell, cwd=tmp_path, check=True)
    modes = [(tmp_path / f"{mask}.yaml").stat().st_mode & 0o777 for mask in ("022", "077")]
    assert modes == [0o644, 0o600]


def waiting(pid: int) -> list[int]:
    """The processes that read what a shell's command was to read, besides itself."""
    place = Path(f"/proc/{pid}/fd/0").readlink()
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(each.name) not in (pid, os.getpid()) and (each / "fd" / "0").readlink() == place:
                found.append(int(each.name))
    return found


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, -15), (signal.SIGUSR1, -10), (signal.SIGKILL, -9)]
)
def test_a_shells_signal_ends_both(
    shell: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    command = [str(warm.launchers() / "sealwire"), "policy", "explain", "policy.yaml", "-"]
    pipe, deadline = subprocess.PIPE, time.monotonic() + 60
    with subprocess.Popen(command, env=shell, cwd=tmp_path, stdin=pipe, stderr=pipe) as process:
        while not waiting(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == code
        process.communicate()  # it would wait for one that has the other end
    assert time.monotonic() < deadline


def test_any_other_program_is_started_as_ever() -> None:
    assert warm.run(["cat"], input="text", capture_output=True, text=True).stdout == "text"
