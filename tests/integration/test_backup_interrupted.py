"""A writer that is stopped anywhere: earlier backups stay whole, and no half file has a name."""

import random
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from sealwire.cli.exit_codes import EX_UNAVAILABLE
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from tests.build_context import ROOT
from tests.integration.backup_writer import SIZE, make_in_steps
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import KEK, seal
from tests.support.forks import PROCESSES

pytestmark = pytest.mark.integration

OLD = {"old.tar.gz.enc", "old.tar.gz.enc.json"}
NEW = {"new.tar.gz.enc", "new.tar.gz.enc.json"}
COMMAND = [sys.executable, "-m", "tests.integration.backup_writer"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    seal(LocalStore(tmp_path), "old")
    return tmp_path


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.startswith(".")}


def check(directory: Path) -> bool:
    """What holds whenever the writer ended; True when the new backup is there, whole."""
    store = LocalStore(directory)
    verify_backup(store, "old", [KEK], NOW)
    found = names(directory)
    assert found in (OLD, OLD | {"new.tar.gz.enc.json"}, OLD | NEW)
    if found >= NEW:
        verify_backup(store, "new", [KEK], NOW)
    return found >= NEW


def finish(directory: Path) -> None:
    """The next run of the same name does not stumble over what was left, and leaves nothing of it."""
    done = subprocess.run([*COMMAND, str(directory), "new"], check=False, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert check(directory)
    assert not list(directory.glob(".*.partial"))


def run_steps(directory: Path, stop_after: int | None) -> int:
    """Let the writer take steps, and kill it at one; how many it took."""
    steps = 0
    ours, theirs = PROCESSES.Pipe()
    writer = PROCESSES.Process(target=make_in_steps, args=(str(directory), "new", theirs))
    writer.start()
    theirs.close()
    with ours, suppress(EOFError):
        while ours.recv():
            steps += 1
            if steps == stop_after:
                writer.kill()
                break
            ours.send("go on")
    writer.join()
    assert writer.exitcode == (0 if stop_after is None else -signal.SIGKILL)
    writer.close()
    return steps


def test_killed_at_every_step(directory: Path) -> None:
    total = run_steps(directory, None)
    assert check(directory)
    assert total > 20
    outcomes = []
    for step in range(1, total + 1):
        for name in NEW:
            (directory / name).unlink(missing_ok=True)
        assert run_steps(directory, step) == step
        outcomes.append(check(directory))
    # Once the name is there it stays there: the commit is one step.
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True
    for name in NEW:
        (directory / name).unlink(missing_ok=True)
    run_steps(directory, total // 2)
    finish(directory)


def size_of(path: Path) -> int:
    """Also of a file that is renamed at this moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment(directory: Path, seed: int) -> None:
    """Without waiting in between: the kill hits wherever the writer is once so many bytes are on disk."""
    wanted = random.Random(seed).randrange(SIZE)
    partial = directory / ".new.tar.gz.enc.partial"
    with subprocess.Popen([*COMMAND, str(directory), "new"], cwd=ROOT) as writer:
        while writer.poll() is None:
            if size_of(partial) >= wanted:
                writer.kill()
                break
    if not check(directory):
        finish(directory)


@pytest.mark.parametrize("seed", range(5))
def test_the_disk_is_full_by_a_limit(directory: Path, seed: int) -> None:
    limit = random.Random(seed).randrange(1_000, SIZE // 2)
    done = subprocess.run(
        [*COMMAND, str(directory), "new"],
        check=False,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert (done.returncode, done.stdout) == (EX_UNAVAILABLE, b"store-full\n")
    assert names(directory) == OLD
    assert not list(directory.glob(".new*"))
    check(directory)


def test_the_disk_is_really_full(directory: Path) -> None:
    apart = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("the kernel lets this user have no mounts of its own")
    script = (
        'mount -t tmpfs -o size=100k tmpfs "$1" && "$2" -m tests.integration.backup_writer "$1" new;'
        ' code=$?; ls -A "$1"; exit $code'
    )
    mount = directory / "mount"
    mount.mkdir()
    done = subprocess.run(
        [*apart, "sh", "-c", script, "sh", str(mount), sys.executable],
        check=False,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (EX_UNAVAILABLE, b"store-full\n")
