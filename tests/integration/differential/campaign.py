"""Many sequences on a server and a proxy of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from pymongo import MongoClient

from sealwire.keys.environment import DEFAULT_VARIABLE, EnvironmentKek
from sealwire.keys.keyring_file import load_keyring
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.differential.malformed import malformed_sequences
from tests.integration.differential.runner import Runner
from tests.integration.differential.sequences import Sequence, any_sequence
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.differential.values import Document
from tests.support.secantus import secantus

SHAPES = 8
_PHASES = (Phase.generate, Phase.shrink)  # no saved examples: with another seed the policies differ


@contextmanager
def both_ways(folder: Path, rules: str) -> Iterator[Runner]:
    """A server, and Sealwire with these rules, the text of a policy file. Cost: 3 s."""
    policy = folder / "policy.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    policy.write_text(rules)
    with secantus(folder) as database:
        options = ProxyOptions(folder / "sealwire", policy, database.address, access_control=False)
        with (
            ProxyProcess(options) as proxy,
            database.connect() as direct,
            MongoClient[Document](proxy.uri()) as client,
        ):
            kek = EnvironmentKek(environ={DEFAULT_VARIABLE: options.kek})
            loaded = load_policy(policy.read_bytes(), policy.name)
            yield Runner(direct, client, loaded, load_keyring(proxy.keyring, kek))


def run_campaign(folder: Path, seed: int, examples: int, *, malformed: bool = False) -> Runner:
    """`examples` sequences drawn from `seed`, of commands that are answered or of such that are rejected.

    Raises AssertionError with the smallest that differs.
    """
    drawn = malformed_sequences if malformed else any_sequence
    shapes = draw_shapes(seed, SHAPES)
    with both_ways(folder, policy_yaml(shapes)) as runner:

        @seeded(seed)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=_PHASES,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(sequence=drawn(shapes))
        def compare(sequence: Sequence) -> None:
            runner.run(sequence)

        compare()
        return runner
