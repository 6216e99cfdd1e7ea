"""The fuzzer itself, on every target: 10 minutes in `make test-slow`, or as `SEALWIRE_FUZZ_SECONDS` says.

Half of the time is the session's. A crasher is kept in build/fuzz/TARGET/ and printed as base64.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.build_context import ROOT
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

SECONDS = int(os.environ.get("SEALWIRE_FUZZ_SECONDS", "600"))
SHARE = {target: 0.5 if target == "session" else 0.5 / (len(TARGETS) - 1) for target in TARGETS}
START_S = 120
"""So long it takes at most until everything is imported and instrumented, on a busy machine."""


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
