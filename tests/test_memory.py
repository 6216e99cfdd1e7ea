"""The measure of a command's memory sees the command, and not who starts it."""

import os
import sys

import pytest

from tests.support.memory import peak_memory

HELD = 160_000_000
SMALL = 60_000_000


def test_what_a_command_takes_is_measured() -> None:
    holding = f"bytearray({HELD})"
    assert peak_memory([sys.executable, "-I", "-S", "-c", holding], os.environ) > HELD


def test_what_the_starting_process_holds_is_not() -> None:
    held = bytearray(os.urandom(1)) * HELD
    assert peak_memory([sys.executable, "-I", "-S", "-c", "pass"], os.environ) < SMALL < len(held)


def test_a_command_that_fails_is_no_measure() -> None:
    with pytest.raises(AssertionError):
        peak_memory([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"], os.environ)
