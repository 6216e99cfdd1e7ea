"""The audit writer that cannot read its orders says so in one line of the log, without what was in them."""

import json
import subprocess
import sys

import pytest

PROGRAM = (sys.executable, "-P", "-m", "sealwire.proxy.server.audit_writer.main")
SECRET = "943 476 5919"


def run(*orders: str) -> str:
    done = subprocess.run([*PROGRAM, *orders], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert SECRET not in done.stderr
    return done.stderr


@pytest.mark.parametrize("orders", [(), (f'{{"log": ["info", "json"], "pace": "{SECRET}"}}',)])
def test_orders_that_are_none_are_one_line_of_json(orders: tuple[str, ...]) -> None:
    line = json.loads(run(*orders))
    assert (line["level"], line["event"]) == ("critical", "bug: the audit writer ended")
    assert line["stack"][0].startswith(("json.", "builtins."))


def test_orders_say_the_format_as_far_as_they_can_be_read() -> None:
    head, first, *_ = run(f'{{"log": ["info", "text"], "{SECRET}": 1}}').splitlines()
    assert head.endswith("CRITICAL bug: the audit writer ended")
    assert first == "    builtins.KeyError"
