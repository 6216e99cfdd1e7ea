"""Generated sequences under a role that may do everything: what is answered, and how, is as without roles."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.differential.campaign import SHAPES, both_ways, compare_many
from tests.integration.differential.runner import Runner
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.outside.chosen import has_transactions, own_server
from tests.support.secantus import ROOT, USERS, secantus

pytestmark = [pytest.mark.integration, own_server("it has users of its own")]

SEED, EXAMPLES = 37, 120
ALL = """
roles:
  all:
    users: ["*@admin"]
    classes: {"*": {read: clear, filter: true, write: true}}
"""


@contextmanager
def under_roles(folder: Path, rules: str) -> Iterator[Runner]:
    """As `both_ways`, by a user who has a role."""
    folder.mkdir()
    policy = folder / "policy.yaml"
    policy.write_text(rules)
    authority = create_authority(folder / "certificates")
    with secantus(folder, users=USERS, authority=authority) as database:
        options = ProxyOptions(
            *(folder / "sealwire", policy, database.address),
            *(authority.issue("sealwire"), authority.certificate_file),
        )
        with (
            ProxyProcess(options) as proxy,
            database.connect(ROOT) as direct,
            MongoClient[dict[str, Any]](proxy.uri(ROOT)) as client,
        ):
            keyring = load_keyring(proxy.keyring, EnvironmentKek(environ={DEFAULT_VARIABLE: options.kek}))
            loaded = load_policy(policy.read_bytes(), policy.name)
            yield Runner(direct, client, loaded, lambda: keyring, has_transactions())


@pytest.mark.slow
def test_a_role_that_may_do_everything_changes_no_answer(tmp_path: Path) -> None:
    shapes = draw_shapes(SEED, SHAPES)
    rules = policy_yaml(shapes)
    with under_roles(tmp_path / "roles", rules + ALL) as runner:
        compare_many(runner, shapes, SEED, EXAMPLES)
        found = runner.tally.table()
    with both_ways(tmp_path / "none", rules) as runner:
        compare_many(runner, shapes, SEED, EXAMPLES)
        assert found == runner.tally.table()
