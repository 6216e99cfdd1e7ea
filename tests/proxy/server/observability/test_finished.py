"""What is left of a command's time when its parts are taken away."""

import pytest

from tests.proxy.server.observability.finished_commands import finished


def test_what_no_part_accounts_for_was_waiting() -> None:
    assert finished(0.1).waiting_s == pytest.approx(0.003)


def test_clocks_that_disagree_make_no_negative_time() -> None:
    assert finished(0.1, planning_s=1.0).waiting_s == 0.0
