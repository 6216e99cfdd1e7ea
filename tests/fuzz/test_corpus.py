"""Every input that is kept still does what it must, and the machinery around the fuzzer does its part."""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from sealwire.wire.framing import Framer
from tests.build_context import ROOT
from tests.fuzz import targets
from tests.fuzz.script import Act, Call, calls_of, written_script
from tests.fuzz.seeds import CORPUS, kept, mutated_script, reframed, seeds
from tests.fuzz.targets import TARGETS, Broken
from tests.proxy.session.world import command

PING = command({"ping": 1, "$db": "admin"})


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_kept_breaks_nothing(target: str) -> None:
    inputs = kept(target)
    assert len(inputs) > 10
    for data in inputs:
        TARGETS[target](data)


def test_each_target_has_seeds_that_are_kept() -> None:
    assert set(seeds()) == set(TARGETS) == {path.stem for path in CORPUS.iterdir()}


def test_a_script_is_what_was_written() -> None:
    calls = [Call(Act.CLIENT, PING), Call(Act.DRAIN), Call(Act.SERVER, b"")]
    assert list(calls_of(written_script(calls))) == calls


@pytest.mark.parametrize("script", [b"", b"\0", b"\0\xff\xff", bytes(range(256))])
def test_any_bytes_are_a_script(script: bytes) -> None:
    for call in calls_of(script):
        assert call.act in Act


def test_changes_keep_frames_whole() -> None:
    script = written_script([Call(Act.CLIENT, PING), Call(Act.SERVER, PING), Call(Act.TICK)])

    def longer(data: bytes, most_bytes: int) -> bytes:
        return (data + b"more")[:most_bytes]

    found = [mutated_script(script, 4096, seed, longer) for seed in range(300)]
    assert len(set(found)) > 10
    assert max(map(len, found)) <= 4096
    framed = [call.data for each in found for call in calls_of(each) if call.data.endswith(b"more")]
    assert framed
    assert all(reframed(message) == message for message in framed if len(message) == len(PING) + 4)


def test_a_target_that_raises_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.setattr(targets, "parse_op_msg", parse)
    with pytest.raises(KeyError):
        targets.op_msg(PING)


def test_a_wrong_framer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        """Loses half of what it is given."""

        def __init__(self, *_: int, **__: bool) -> None:
            self.framer = Framer()

        @property
        def pending_bytes(self) -> int:
            return self.framer.pending_bytes

        def feed(self, data: bytes) -> list[bytes]:
            return self.framer.feed(data[: len(data) // 2])

    monkeypatch.setattr(targets, "Framer", Forgetful)
    with pytest.raises(Broken):
        targets.framing(b"\x07" + PING * 3)


# The fuzzer itself, on every target: 10 minutes in `make test-slow`, or as `SEALWIRE_FUZZ_SECONDS` says.
#
# Half of the time is the session's. A crasher is kept in build/fuzz/TARGET/ and printed as base64.


SECONDS = int(os.environ.get("SEALWIRE_FUZZ_SECONDS", "600"))
SHARE = {target: 0.5 if target == "session" else 0.5 / (len(TARGETS) - 1) for target in TARGETS}
START_S = 120
"""So long it takes at most until everything is imported and instrumented, on a busy machine."""


@pytest.mark.slow
@pytest.mark.plain_core("the compiled core has no bytecode to instrument")
@pytest.mark.parametrize("target", TARGETS)
def test_only_documented_errors_escape(target: str, record_property: Callable[[str, object], None]) -> None:
    pytest.importorskip("atheris", reason="atheris is made for Linux on x86-64 and Python 3.12 or newer")
    seconds = max(1, round(SECONDS * SHARE[target]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, "--seconds", str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + START_S,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert runs is not None
    record_property("summary", f"fuzzing {target}, {seconds} s: {int(runs[1]):,} inputs")
    assert int(runs[1]) > 10 * seconds
