"""The jobs that are measured move everything, and what they say of it is what was done."""

import json
import subprocess
import sys

import pytest

from bench.migration.alone import WORKS
from bench.migration.subject import DETERMINISTIC, RANDOM

COUNT = 700
JOBS = {
    "encrypt": ("encrypt random", COUNT * len(RANDOM)),
    "reencrypt": ("reencrypt random", COUNT * len(RANDOM)),
    "rotate": (f"reencrypt {DETERMINISTIC[0]}", COUNT),
    "decrypt": (f"decrypt {DETERMINISTIC[0]}", COUNT),
}


@pytest.mark.parametrize("work", WORKS)
def test_a_work_moves_every_value_and_is_measured(work: str) -> None:
    line = [sys.executable, "-m", "bench.migration.alone", work, "--documents", str(COUNT)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert (found["work"], found["values"]) == JOBS[work]
    assert found["documents"] == COUNT
    assert found["cpu_s"] > 0
    assert 0 < found["update_cpu_s"] <= found["server_cpu_s"]
    assert 0 < found["idle_kib"] <= found["peak_kib"]
