"""Many sequences on a server and a proxy of their own."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.kek import DEFAULT_VARIABLE
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.policies.file.loader import load_policy
from tests.integration.conftest import Document
from tests.integration.differential import moving
from tests.integration.differential.broken_proxy import Rule
from tests.integration.differential.malformed import malformed_sequences
from tests.integration.differential.opening import ContextOpener
from tests.integration.differential.runner import Runner
from tests.integration.differential.sequences import Sequence, any_sequence, searchable_sequences
from tests.integration.differential.shapes import MAY_HAVE_CONTEXTS, Shape, draw_shapes, policy_yaml
from tests.integration.differential.sides import TryAgain
from tests.integration.differential.tally import Tally
from tests.integration.outside.chosen import has_transactions, standing

SHAPES = 8
_PHASES = (Phase.generate, Phase.shrink)  # no saved examples: with another seed the policies differ


@contextmanager
def both_ways(
    folder: Path, rules: str, *, older: bool = False, has_contexts: bool = False
) -> Iterator[Runner]:
    """A server, and Sealwire with these rules, the text of a policy file. Cost: 3 s.

    `older`: the keyring has an older version of each class, under which nothing is stored.
    `has_contexts`: classes have a key for each database, and every sequence has a database of its own.
    """
    policy = folder / "policy.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    policy.write_text(rules)
    with ExitStack() as stack:
        contexts = folder / "contexts.db"
        keys = {"keys": {"contexts": str(contexts)}} if has_contexts else {}
        found = stack.enter_context(standing(folder, policy, keys))
        kek = EnvironmentKek(environ={DEFAULT_VARIABLE: found.proxy.options.kek})
        loaded = load_policy(policy.read_bytes(), policy.name)
        client = found.client
        if older:
            for name in loaded.class_names:
                rotate(found.proxy.keyring, kek, {name: False}, datetime.now(UTC))
            found.proxy.stop()
            # what has moved once is refused without a look at the frontiers
            (uri_file := folder / "frontier.uri").touch(0o600)
            uri_file.write_text(found.database.uri())
            settings = {"frontier": {"uri_file": str(uri_file)}}
            found.proxy.options = replace(found.proxy.options, settings=settings)
            found.proxy.start()
            client = stack.enter_context(MongoClient[Document](found.proxy.uri()))
        keyring = load_keyring(found.proxy.keyring, kek)
        assert len(keyring.older) == older * len(loaded.class_names)
        runner = Runner(found.direct, client, loaded, lambda: keyring, has_transactions())
        if has_contexts:
            store = stack.enter_context(closing(SqliteContextStore(contexts)))
            runner.opens, runner.has_own_databases = ContextOpener.of(store, loaded), True
        yield runner


def run_campaign(
    folder: Path,
    seed: int,
    examples: int,
    *,
    malformed: bool = False,
    older: bool = False,
    asks: bool = False,
    unasked: bool = False,
    contexts: bool = False,
) -> Tally:
    """`examples` sequences drawn from `seed`, of commands that are answered or of such that are rejected.

    `asks`: the commands have conditions that are answered by asking for the stored values first; `unasked`:
    the same commands, where no class is asked about. `contexts`: classes have a key for each database.

    Raises AssertionError with the smallest that differs.
    """
    shapes = draw_shapes(seed, SHAPES, asks=asks)
    covered = tuple(replace(shape, asks=asks and not unasked) for shape in shapes)
    keyed = frozenset(MAY_HAVE_CONTEXTS if contexts else ())
    with both_ways(folder, policy_yaml(covered, keyed), older=older, has_contexts=contexts) as runner:
        try:
            compare_many(runner, shapes, seed, examples, malformed=malformed)
        except AssertionError as error:
            error.add_note(f"what the proxy says of itself:\n{_warnings(folder)}")
            raise
        return runner.tally


def run_moving(
    folder: Path,
    seed: int,
    examples: int,
    broken: Rule | None = None,
    *,
    to_clear: bool = False,
    asks: bool = False,
) -> Tally:
    """As `run_campaign`, by two proxies, while classes move. The first proxy may do without a rule."""
    shapes = draw_shapes(seed, moving.SHAPES, asks=asks)
    try:
        with moving.moving_ways(folder, shapes, seed, broken, to_clear=to_clear) as runner:
            compare_many(runner, shapes, seed, examples)
    except AssertionError as error:
        error.add_note(f"what both proxies say of themselves:\n{_warnings(folder)}")
        raise
    return runner.tally


def _warnings(folder: Path) -> str:
    """What the logs of the proxies below `folder` have that is more than information, with its stacks."""
    lines = [line for log in sorted(folder.glob("*/sealwire.log")) for line in log.read_text().splitlines()]
    return "\n".join(line for line in lines if " INFO " not in line)


def compare_many(
    runner: Runner, shapes: tuple[Shape, ...], seed: int, examples: int, *, malformed: bool = False
) -> None:
    """As `run_campaign`, on a server that stands: `runner` counts up to the first difference.

    While classes move no run is like another. So what differs then is not made small, and ends the campaign.
    """
    moves = bool(runner.others)
    sequences = malformed_sequences if malformed else searchable_sequences if moves else any_sequence
    differs: list[AssertionError] = []

    @seeded(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=_PHASES[:1] if moves else _PHASES,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(sequence=sequences(shapes))
    def compare(sequence: Sequence) -> None:
        if differs:
            return
        try:
            runner.run(sequence)
        except (AssertionError, TryAgain, PyMongoError) as error:
            if not moves:
                raise
            differs.append(AssertionError(f"{error}\nin {sequence}"))

    compare()
    if differs:
        raise differs[0]
