"""A class moves in and out of encryption while proxies, lines, the server and the job break: nothing is lost.

SEALWIRE_CHAOS_SECONDS=3600 SEALWIRE_CHAOS_SEED=7 make test-slow ARGS="tests/faults/test_moving_chaos.py -s"
"""

import os
from pathlib import Path

import pytest

from tests.faults.moving_chaos import run
from tests.faults.moving_clinic import NHS, ended, moving_clinic
from tests.faults.scene import faulty
from tests.support.secantus import secantus

pytestmark = [*faulty, pytest.mark.slow(minutes=4)]

SECONDS = float(os.environ.get("SEALWIRE_CHAOS_SECONDS", "600"))
SEED = int(os.environ.get("SEALWIRE_CHAOS_SEED", "25"))
LIFETIME_S = 2
"""Of a transaction: a proxy that was killed holds a move up for twice as long and 15 s."""
SHOWN = 10


def test_no_write_is_lost_whatever_breaks(tmp_path: Path) -> None:
    with (
        secantus(tmp_path, transaction_s=LIFETIME_S) as database,
        moving_clinic(database, tmp_path, plaintext=[NHS], workers=2, is_recording=False) as clinic,
    ):
        tally = run(clinic, SECONDS, SEED)
        summary = tally.summary(SEED)
        print(summary)  # noqa: T201
        assert not tally.wrong, "\n".join([summary, *tally.wrong[:SHOWN]])
        assert tally.asked.total() > SECONDS
        assert tally.disturbed
        assert tally.moved
        assert tally.events
        with clinic.job("verify", "policy.yaml") as verifying:
            assert ended(verifying) == 0, summary
