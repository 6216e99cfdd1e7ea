"""The clinic in plaintext that the demo of migration begins with."""

import time
from pathlib import Path

import pytest

from sealwire.demo.desk import desks_at_work
from sealwire.demo.inspection import count_stored
from sealwire.demo.moving_stage import KEK_NAME, MOVING_SETUP_STEPS, POLICY, build_moving
from sealwire.policies.file.loader import load_policy

pytestmark = pytest.mark.integration


def test_both_databases_hold_the_same_plaintext(tmp_path: Path) -> None:
    told: list[str] = []
    with build_moving(tmp_path, 100, 1948, told.append) as stage:
        with stage.guarded.connect(stage.administrator) as raw:
            stored = count_stored(raw, load_policy(POLICY.encode(), "policy.yaml"))
        assert stored.encrypted == 0
        assert stored.readable > 400
        keys = stage.bao.client.secrets.transit.read_key(KEK_NAME)
        assert keys["data"]["derived"] is True
        assert stage.environment["VAULT_TOKEN"] == stage.bao.root_token != ""
        guarded = stage.guarded.uri(stage.databases.user, "clinic")
        patients = stage.dataset.patients_file
        with desks_at_work(stage.direct_uri, guarded, patients, tmp_path) as desks:
            deadline = time.monotonic() + 30
            while desks.compared < 20 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert desks.compared >= 20
            assert desks.different() == []
            assert desks.guarded.period(0).failed == 0
    assert len(told) == MOVING_SETUP_STEPS
