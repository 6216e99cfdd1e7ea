"""A session waits for keys of contexts, tries again, and encrypts and opens with them; nothing is guessed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.contexts.cache import ContextCache, ContextsMissing, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.policies.planning.walk import SETTLED_EDITS
from sealwire.proxy.session.effects import Effect, LongToServer, NeedKeys, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.rewriting import MAX_CONTEXTS, Settled, apply_plan
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.errors import ProtocolError
from sealwire.wire.framing import LONG_BYTES, PART_BYTES
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.raw_bson import elements
from tests.keys.samples import NOW
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.labels import LABELS, MARK
from tests.policies.taint.owned_commands import OwnedCase, draw_owned
from tests.policies.taint.owners import POLICY as OWNERS
from tests.policies.taint.values import encoded, shown
from tests.proxy.session.world import OWN_ADDRESS, command, reply, served_in_parts
from tests.strategies import made_op_msg
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.skips import takes_samples

POLICY = policy_of("""
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  notes: {mode: random, key: {per: tenant}}
collections:
  clinic.people: {ssn: ssn, notes: notes}
""")
KEYRING = Keyring(
    DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64)
    for number, name in enumerate(POLICY.class_names, 1)
)
Body = dict[str, Any]


class World:
    """A session, the cache of its process, and a store that is asked when the session asks."""

    def __init__(self, store: SqliteContextStore) -> None:
        self.store = store
        self.cache = ContextCache()
        self.shared = Shared(SessionSettings(POLICY, login_required=False), KEYRING, self.cache)
        self.session = Session(self.shared, Topology(OWN_ADDRESS))
        self.keyring = KEYRING
        self.asked: list[NeedKeys] = []
        self.resolver = Resolver(store)
        self.sent = 0

    def answer(self, effects: list[Effect], *, find: bool = True) -> list[Effect]:
        """As the shell does, for as long as the session asks."""
        while needs := [each for each in effects if isinstance(each, NeedKeys)]:
            (need,) = needs
            self.asked.append(need)
            if find:
                self.cache.put(self.resolver.find(self.keyring, need.contexts, need.context_keys))
            effects = self.session.keys_loaded()
            self.cache.forget_misses()
        return effects

    def command(self, body: Body) -> bytes:
        """A command with an id of its own."""
        self.sent += 1
        return command({**body, "$db": "clinic"}, request_id=self.sent)

    def send(self, body: Body) -> Body:
        """What the server gets of a command, or the client's error."""
        return body_of(self.answer(self.session.client_data(self.command(body))))

    def reply(self, body: Body) -> list[Effect]:
        """What becomes of a reply to a find, before any key is looked up."""
        self.send({"find": "people", "filter": {}})
        message = reply(body, self.sent)
        return served_in_parts(self.session, message, PART_BYTES)

    def receive(self, body: Body) -> Body:
        """What the client gets of a reply to a find."""
        return body_of(self.answer(self.reply(body)))


def body_of(effects: list[Effect]) -> Body:
    (message,) = [
        b"".join(each.pieces) if isinstance(each, LongToServer) else each.data
        for each in effects
        if isinstance(each, ToServer | ToClient | LongToServer)
    ]
    return bson.decode(message[parse_op_msg(message).body :])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield World(store)


def inserted(world: World, *documents: Body) -> list[Body]:
    found = world.send({"insert": "people", "documents": list(documents)})
    assert "documents" in found, found
    return list(found["documents"])


def key_of(value: Binary) -> bytes:
    return parse_context_header(bytes(value))[1]


def batch(*documents: Body) -> Body:
    return {"ok": 1.0, "cursor": {"id": 0, "ns": "clinic.people", "firstBatch": list(documents)}}


def test_values_of_a_command_are_encrypted_under_the_keys_of_their_contexts(world: World) -> None:
    first, second, third = inserted(world, *({"tenant": n, "ssn": "x", "notes": "y"} for n in (1, 2, 1)))
    assert len(world.asked) == 1
    assert len(world.asked[0].contexts) == 4
    assert first["ssn"] == third["ssn"] != second["ssn"]
    assert key_of(first["ssn"]) != key_of(first["notes"])
    assert key_of(first["notes"]) == key_of(third["notes"])


def test_keys_at_hand_are_not_asked_for(world: World) -> None:
    inserted(world, {"tenant": 1, "ssn": "x"})
    inserted(world, {"tenant": 1, "ssn": "y"})
    assert len(world.asked) == 1


def test_a_filter_asks_for_the_very_value_that_is_stored(world: World) -> None:
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x"})
    assert (
        world.send({"find": "people", "filter": {"tenant": 1, "ssn": "x"}})["filter"]["ssn"] == stored["ssn"]
    )


def test_a_filter_on_a_context_without_a_key_matches_nothing_and_makes_none(world: World) -> None:
    condition = {"find": "people", "filter": {"tenant": 9, "ssn": "x"}}
    first, second = (world.send(condition)["filter"]["ssn"] for _ in range(2))
    assert first != second
    assert len(world.asked) == 2  # another process may have made the key meanwhile
    assert world.store.count(1).live == 0


def test_what_is_asked_in_a_context_without_a_key_opens_in_the_reply_that_repeats_it(
    world: World, tmp_path: Path
) -> None:
    explained = {"explain": {"find": "people", "filter": {"tenant": 9, "ssn": "x"}}}
    said = world.send(explained)["explain"]["filter"]
    assert parse_context_header(said["ssn"])[0].class_id == 1  # so that roles decide on it as on a stored one
    world.asked.clear()
    plan = {"ok": 1.0, "queryPlanner": {"parsedQuery": said}}
    told = world.answer(world.session.server_data(reply(plan, world.sent)))
    assert body_of(told)["queryPlanner"]["parsedQuery"] == {"tenant": 9, "ssn": "x"}
    assert not world.asked
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        # as in the server's profile, that another process reads
        assert World(store).receive(batch(said))["cursor"]["firstBatch"] == [{"tenant": 9, "ssn": None}]


def test_a_reply_asks_for_all_keys_that_it_needs_at_once(world: World) -> None:
    stored = inserted(world, *({"tenant": n, "ssn": f"s{n}", "notes": n} for n in range(20)))
    world.cache.clear()
    world.asked.clear()
    found = world.receive(batch(*stored))["cursor"]["firstBatch"]
    assert found == [{"tenant": n, "ssn": f"s{n}", "notes": n} for n in range(20)]
    assert len(world.asked) == 1
    assert len(world.asked[0].context_keys) == 40


def test_a_projection_without_the_context_is_opened(world: World) -> None:
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x"})
    world.cache.clear()
    assert world.receive(batch({"ssn": stored["ssn"]}))["cursor"]["firstBatch"] == [{"ssn": "x"}]


def test_a_long_reply_is_opened_as_well(world: World) -> None:
    stored = inserted(world, *({"tenant": n, "notes": "n" * 2000} for n in range(700)))
    world.cache.clear()
    world.asked.clear()
    effects = world.answer(world.reply(batch(*stored)))
    pieces = b"".join(b"".join(each.pieces) for each in effects if hasattr(each, "pieces"))
    found = bson.decode(pieces[parse_op_msg(pieces).body :])["cursor"]["firstBatch"]
    assert [each["notes"] for each in found] == ["n" * 2000] * 700
    assert 1 < len(world.asked) < 30
    # what was looked up for one reply may be looked up for the next
    world.cache.clear()
    again = world.answer(world.reply(batch(*stored)))
    assert b"".join(b"".join(each.pieces) for each in again if hasattr(each, "pieces"))[16:] == pieces[16:]


def test_a_long_command_asks_once(world: World) -> None:
    documents = [{"tenant": n % 3000, "ssn": "x", "pad": "p" * 300} for n in range(4000)]
    assert len(bson.encode({"documents": documents})) > LONG_BYTES
    stored = inserted(world, *documents)
    assert len(world.asked) == 1
    assert len({key_of(each["ssn"]) for each in stored}) == 3000
    # at hand from the beginning they encrypt the same
    assert inserted(world, *documents) == stored
    assert len(world.asked) == 1


def test_documents_that_were_left_as_they_came_are_never_sent(world: World) -> None:
    """Not even if their keys have come, between the document and the end of its command."""
    documents = [{"tenant": n, "ssn": "x"} for n in range(SETTLED_EDITS + 1)]
    message = command({"insert": "people", "documents": documents, "$db": "clinic"})
    settled = Settled(world.shared)
    plan = plan_command(POLICY, message, parse_op_msg(message).body, (0,), settler=settled.take)
    with pytest.raises(ContextsMissing) as missing:
        apply_plan(plan, world.shared, settled)
    world.cache.put(world.resolver.find(KEYRING, missing.value.wanted))
    with pytest.raises(RuntimeError, match="as they came"):
        apply_plan(plan, world.shared, settled)


def test_a_shredded_value_is_null_and_its_context_is_closed(world: World) -> None:
    stored = inserted(world, {"tenant": 1, "notes": "x"}, {"tenant": 2, "notes": "y"})
    row = world.resolver.row_of(KEYRING, "notes", b"\x12" + (1).to_bytes(8, "little"))
    assert row is not None
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    world.cache.destroy([row.key_id])
    found = world.receive(batch(*stored))["cursor"]["firstBatch"]
    assert found == [{"tenant": 1, "notes": None}, {"tenant": 2, "notes": "y"}]
    refused = world.send({"insert": "people", "documents": [{"tenant": 1, "notes": "again"}]})
    assert (refused["ok"], refused["code"]) == (0.0, 211)
    assert b"again" not in bson.encode(refused)


def test_a_key_that_is_nowhere_withholds_the_reply(world: World) -> None:
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x"})
    forged = Binary(stored["ssn"][:13] + bytes(range(16)) + stored["ssn"][29:], 0x80)
    assert world.receive(batch({"ssn": forged}))["code"] == 211


def test_where_the_store_does_not_answer_commands_and_replies_get_an_error(world: World) -> None:
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x"})
    world.cache.clear()
    insert = world.command({"insert": "people", "documents": [{"tenant": 1, "ssn": "x"}]})
    assert body_of(world.answer(world.session.client_data(insert), find=False))["code"] == 262
    assert body_of(world.answer(world.reply(batch(stored)), find=False))["code"] == 262
    assert inserted(world, {"tenant": 1, "ssn": "x"}) == [{"tenant": 1, "ssn": stored["ssn"]}]


def test_a_newer_keyring_has_all_keys_looked_up_anew(world: World) -> None:
    inserted(world, {"tenant": 1, "ssn": "x"})
    world.shared.use_keyring(KEYRING)
    assert len(world.cache) == 0
    inserted(world, {"tenant": 1, "ssn": "x"})
    assert len(world.asked) == 2


def test_a_command_with_more_new_contexts_than_can_be_looked_up_is_refused(world: World) -> None:
    documents = [{"tenant": n, "ssn": "x"} for n in range(MAX_CONTEXTS + 1)]
    assert world.send({"insert": "people", "documents": documents})["code"] == 10334
    assert world.asked == []


def test_a_process_without_a_store_encrypts_nothing() -> None:
    message = command({"insert": "people", "documents": [{"tenant": 1, "ssn": "x"}], "$db": "clinic"})
    plan = plan_command(POLICY, message, parse_op_msg(message).body, (0,))
    with raising(UnknownKey, KeysReason.CONTEXTS):
        apply_plan(plan, Shared(SessionSettings(POLICY), KEYRING))


def test_no_context_is_in_what_the_session_says(world: World) -> None:
    message = world.command({"insert": "people", "documents": [{"tenant": "someone", "ssn": "x"}]})
    effects = world.session.client_data(message)
    assert "someone" not in repr(effects)
    world.answer(effects)
    refused = world.send({"find": "people", "filter": {"other": "someone", "ssn": "x"}})
    assert "someone" not in str(refused)


def test_a_view_is_not_asked_about_again_when_the_keys_of_a_filter_are_there(tmp_path: Path) -> None:
    """Else what was found to be nowhere would be forgotten by the time of the second answer."""
    policy = policy_of("""
version: 1
classes:
  ward: {mode: deterministic, type: string, key: {per: $database}}
collections:
  clinic.people: {ward: ward}
""")
    keyring = Keyring([DataKey("ward", 1, 1, KeyState.ACTIVE, NOW, bytes(64))])
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        world = World(store)
        world.keyring = keyring
        world.shared = Shared(SessionSettings(policy, login_required=False), keyring, world.cache)
        world.session = Session(world.shared, Topology(OWN_ADDRESS))
        question = world.send({"find": "shown", "filter": {"ward": "x"}})
        assert question["filter"] == {"name": "shown"}
        view = {"name": "shown", "type": "view", "options": {"viewOn": "people", "pipeline": []}}
        listed = {"id": 0, "ns": "clinic.$cmd.listCollections", "firstBatch": [view]}
        effects = world.session.server_data(reply({"cursor": listed, "ok": 1.0}, 1))
        sent = body_of(world.answer(effects))
        assert (sent["find"], isinstance(sent["filter"]["ward"], Binary)) == ("shown", True)
        assert len(world.asked) == 1


KEYRING_OWNERS = Keyring(
    DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64)
    for number, name in enumerate(OWNERS.class_names, 1)
)


class Opened:
    """A process that has the keys of all contexts, and who knows which key belongs to which."""

    def __init__(self, store: SqliteContextStore) -> None:
        self.cache = ContextCache()
        self.shared = Shared(SessionSettings(OWNERS, login_required=False), KEYRING_OWNERS, self.cache)
        resolver = Resolver(store)
        contexts = {label: of_value(value) for label, (value, *_) in LABELS.items()}
        contexts |= {name: database_context(name) for name in ("clinic", "tenant_1")}
        self.labels: dict[bytes, str] = {}
        for name in OWNERS.class_names:
            wanted = [ContextWanted(name, context, True) for context in contexts.values()]
            found = resolver.find(KEYRING_OWNERS, wanted)
            self.cache.put(found)
            for label, context in contexts.items():
                key = found.by_context[name, context]
                assert key is not None
                self.labels[key.key_id] = label

    def problem(self, case: OwnedCase) -> str | None:
        """What is wrong with what becomes of a case; empty when nothing is, None when it is refused."""
        message = made_op_msg(encoded(case.body), (None,)).message
        try:
            plan = plan_command(OWNERS, message, parse_op_msg(message).body, (0,))
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


EXAMPLES, MANY_EXAMPLES = 4_000, 40_000 if takes_samples() else 200_000


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
