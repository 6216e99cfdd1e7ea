"""When an operator hears of proxies that hold windows up."""

import pytest

from sealwire.cli.migrate.classes import _Waiting


def told(capsys: pytest.CaptureFixture[str], looks: list[tuple[float, float]]) -> int:
    """How often; each look is a time, and for how long the window is waited for by then."""
    times = iter([0.0, *(at for at, _ in looks)])
    waiting = _Waiting(lambda: next(times))
    for _, waited_s in looks:
        waiting(["one", "two"], waited_s)
    said = capsys.readouterr().err
    assert said.count("one, two") == said.count("\n")
    return said.count("\n")


def test_short_waits_are_not_told_however_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [(0.3 * number, 0.9) for number in range(200)]) == 0


def test_a_long_wait_is_told_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, [(4.0, 1.5)]) == 0
    assert told(capsys, [(5.0, 1.0)]) == 1
    assert told(capsys, [(float(at), 1.5) for at in range(14)]) == 2
