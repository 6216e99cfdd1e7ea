"""`sealwire` from a process that has imported it: as the program itself, in all that a test can see."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.warm import SEALWIRE, WarmProcess

pytestmark = pytest.mark.integration

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


def test_any_other_program_is_started_as_ever() -> None:
    assert warm.run(["cat"], input="text", capture_output=True, text=True).stdout == "text"
