"""Generated commands under keys of contexts: each envelope that leaves is opened, and under the right key."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.contexts.cache import ContextCache, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.proxy.session.rewriting.rewrite import apply_plan
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.errors import ProtocolError
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.raw_bson import elements
from tests.keys.samples import NOW
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.labels import LABELS, MARK
from tests.policies.taint.owned_commands import OwnedCase, draw_owned
from tests.policies.taint.owners import POLICY
from tests.policies.taint.values import encoded, shown
from tests.strategies import made_op_msg
from tests.support.skips import takes_samples

KEYRING = Keyring(
    DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64)
    for number, name in enumerate(POLICY.class_names, 1)
)


class Opened:
    """A process that has the keys of all contexts, and who knows which key belongs to which."""

    def __init__(self, store: SqliteContextStore) -> None:
        self.cache = ContextCache()
        self.shared = Shared(SessionSettings(POLICY, login_required=False), KEYRING, self.cache)
        resolver = Resolver(store)
        contexts = {label: of_value(value) for label, (value, *_) in LABELS.items()}
        contexts |= {name: database_context(name) for name in ("clinic", "tenant_1")}
        self.labels: dict[bytes, str] = {}
        for name in POLICY.class_names:
            wanted = [ContextWanted(name, context, True) for context in contexts.values()]
            found = resolver.find(KEYRING, wanted)
            self.cache.put(found)
            for label, context in contexts.items():
                key = found.by_context[name, context]
                assert key is not None
                self.labels[key.key_id] = label

    def problem(self, case: OwnedCase) -> str | None:
        """What is wrong with what becomes of a case; empty when nothing is, None when it is refused."""
        message = made_op_msg(encoded(case.body), (None,)).message
        try:
            plan = plan_command(POLICY, message, parse_op_msg(message).body, (0,))
        except (Refusal, ProtocolError):
            return None
        sent = b"".join(apply_plan(plan, self.shared))
        body = sent[parse_op_msg(sent).body :]
        if MARK.encode() in body:
            return "a value leaves in clear"
        if case.refused:
            return f"is planned: {case.refused}"
        for envelope in envelopes(bson.decode(body)):
            label = self.labels.get(parse_context_header(envelope)[1])
            text = self.cache.open(envelope)[1][4:-1].decode()
            if text != f"{MARK}{label}":
                return f"'{text}' leaves under the key of {label}"
        return ""


def of_value(value: object) -> bytes:
    """The context that a value says."""
    buf = bson.encode({"": value})
    found = context_of(buf, next(elements(buf, 0)))
    assert found is not None
    return found


def envelopes(value: Any) -> Iterator[bytes]:
    """Every envelope in a value, however deep."""
    if isinstance(value, Binary) and value.subtype == SUBTYPE:
        yield bytes(value)
    elif isinstance(value, dict):
        for inner in value.values():
            yield from envelopes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from envelopes(inner)


EXAMPLES, MANY_EXAMPLES = 10_000, 40_000 if takes_samples() else 200_000


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield Opened(store)


def attack(opened: Opened, seed: int, examples: int) -> Counter[str]:
    """How many of each command were planned. Nothing was found in any."""
    planned: Counter[str] = Counter()
    for number in range(seed * 10**9, seed * 10**9 + examples):
        case = draw_owned(number)
        problem = opened.problem(case)
        assert not problem, f"case {number}: {problem}: {shown(case.body)}"
        planned[next(iter(case.body))] += problem is not None
    return planned


def test_every_value_leaves_under_the_key_of_its_context(opened: Opened) -> None:
    planned = attack(opened, chosen_seed(1), EXAMPLES)
    # a planner that refuses everything would let nothing through
    assert sum(planned.values()) > EXAMPLES / 5
    assert all(planned.values())


@pytest.mark.slow
def test_every_value_of_many_commands_leaves_under_the_key_of_its_context(opened: Opened) -> None:
    attack(opened, chosen_seed(1000), MANY_EXAMPLES)


def test_a_seed_draws_the_same_command_again() -> None:
    for seed in range(50):
        assert repr(draw_owned(seed)) == repr(draw_owned(seed))


def test_a_value_under_another_key_and_one_in_clear_are_noticed(opened: Opened) -> None:
    def problem(body: dict[str, Any], refused: str = "") -> str | None:
        return opened.problem(OwnedCase({**body, "$db": "clinic"}, refused))

    right = {"insert": "people", "documents": [{"tenant": 5, "ssn": f"{MARK}five"}]}
    assert problem(right) == ""
    assert problem(right, "a reason")
    assert problem({"insert": "people", "documents": [{"tenant": 6, "ssn": f"{MARK}five"}]})
    assert problem({"insert": "people", "documents": [{"tenant": 5, "x": f"{MARK}five"}]})
    assert problem({"insert": "people", "documents": [{"ssn": f"{MARK}five"}]}) is None
