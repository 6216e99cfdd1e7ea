"""The soak of `make soak`: 20 minutes in `make test-slow`, or as `SEALWIRE_SOAK_SECONDS` says."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.outside.chosen import own_server
from tests.soak.__main__ import SECONDS, draw
from tests.soak.running import CONNECTIONS, GROWTH_KIB, Sample, Soak, soak


def seen(*resident: int, connections: int = CONNECTIONS) -> Soak:
    samples = [
        Sample(float(at), kib, 500, connections, 100 * at, 1.0, 2.0, 0.1 * at, 1.0)
        for at, kib in enumerate(resident)
    ]
    return Soak(float(len(resident)), "plain", "a machine", {"find": 1}, {}, 0, (9, 9), samples)


def test_a_level_is_no_growth() -> None:
    assert seen(10, *[200_000] * 9).problems() == []


def test_growth_errors_bugs_and_files_that_stay_open_are_problems() -> None:
    level = seen(*[200_000] * 9)
    assert seen(*[1_000 + GROWTH_KIB * at for at in range(9)]).problems() != []
    assert replace(level, errors={"find: AutoReconnect": 2}).problems() == ["2 x find: AutoReconnect"]
    assert replace(level, bugs=1).problems() != []
    assert replace(level, files_at_rest=(9, 10)).problems() != []
    assert seen(*[200_000] * 9, connections=CONNECTIONS - 1).problems() != []


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    draw(seen(*[200_000] * 9), tmp_path / "soak.svg")
    assert "connections" in (tmp_path / "soak.svg").read_text()


@pytest.mark.integration
@pytest.mark.slow(minutes=3)
@own_server("it starts a server of its own")
@pytest.mark.usefixtures("asynchronous_driver")
def test_nothing_fails_and_nothing_grows(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seconds = float(os.environ.get("SEALWIRE_SOAK_SECONDS", SECONDS))
    done = soak(tmp_path, seconds, lambda _: None)
    total = f"{sum(done.operations.values()):,} operations in {seconds:.0f} s"
    record_property("summary", f"soak: {total}, memory {done.growth_kib / 1024:+.1f} MiB")
    assert done.problems() == []
    assert set(done.operations) >= {"find", "insert", "update", "delete", "count", "cursor", "refused"}
