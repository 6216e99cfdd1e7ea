"""The clinic with roles, on record and watched, that the demo of governance begins with."""

from pathlib import Path

import pytest

from sealwire.demo.governance_stage import GOVERNANCE_SETUP_STEPS, POLICY, build_governance
from sealwire.demo.governance_story import break_glass, readers
from sealwire.policies.file.loader import load_policy

pytestmark = pytest.mark.integration


def test_the_policy_of_the_demo_is_one() -> None:
    policy = load_policy(POLICY.encode(), "policy.yaml")
    assert policy.roles is not None
    assert policy.subjects is not None


def test_roles_decide_who_sees_what(tmp_path: Path) -> None:
    told: list[str] = []
    with build_governance(tmp_path, 100, 1948, told.append) as stage:
        assert len(told) == GOVERNANCE_SETUP_STEPS
        for step in (readers, break_glass):
            shown, holds, _ = step(stage)
            assert holds, shown
        learnt = stage.watch_log.read_text(encoding="utf-8")
    assert '"bulk-read"' not in learnt  # the filling was learnt, and is no alert
