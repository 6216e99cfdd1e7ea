"""Conditions on classes with a key for each context: values of that context alone are judged and listed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Int64

from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.frontier import BEFORE_ALL, Frontier, Window
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import Count, Counter, Effect, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import parse_op_msg
from tests.keys.samples import NOW
from tests.proxy.session.test_contexts import Body, World, inserted
from tests.proxy.session.world import OWN_ADDRESS, reply
from tests.support.policies import policy_of
from tests.support.rows import rows

POLICY = policy_of("""
version: 1
classes:
  name: {mode: deterministic, type: string, ask: true, key: {per: tenant}}
  notes: {mode: random, ask: true, key: {per: tenant}}
  code: {mode: deterministic, type: string, ask: true, key: {per: ./owner}}
  mark: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.people: {name: name, notes: notes, visits.code: code, mark: mark}
""")
NAMES = list(POLICY.class_names)
STARTS = {"$regex": "^S"}


def key(name: str, version: int = 1, state: KeyState = KeyState.ACTIVE, **more: Any) -> DataKey:
    number = NAMES.index(name) + 1
    return DataKey(name, number, version, state, NOW, bytes([number, version]) * 32, **more)


class AskingWorld(World):
    """A server that answers each question with `values`, until a command is no question."""

    def __init__(self, store: SqliteContextStore) -> None:
        super().__init__(store)
        self.keyring = Keyring(map(key, NAMES))
        self.shared = Shared(SessionSettings(POLICY, login_required=False), self.keyring, self.cache)
        self.session = Session(self.shared, Topology(OWN_ADDRESS))
        self.values: list[Body] = []
        self.questions: list[Body] = []
        self.opened = 0
        self.before_answer: Callable[[], object] = lambda: None
        """Called once a question is asked, before its answer comes."""

    def answer(self, effects: list[Effect], *, find: bool = True) -> list[Effect]:
        """As `World.answer`; questions are answered as well."""
        effects = super().answer(effects, find=find)
        sent = [each.data for each in effects if isinstance(each, ToServer)]
        body = bson.decode(sent[0][parse_op_msg(sent[0]).body :]) if sent else {}
        if body.get("allowDiskUse") is None:
            return effects
        self.questions.append(body)
        self.before_answer()
        cursor = {"id": Int64(0), "ns": "clinic.people", "firstBatch": self.values}
        told = self.session.server_data(reply({"cursor": cursor, "ok": 1.0}, request_id_of(sent[0])))
        self.opened += sum(
            each.amount
            for each in told
            if isinstance(each, Count) and each.counter is Counter.VALUES_DECRYPTED
        )
        return self.answer(told)

    def listed(self, condition: Body, **more: Any) -> Body:
        """The filter that the server gets of a find, or the client's error."""
        found = self.send({"find": "people", "filter": condition, **more})
        return dict(found.get("filter", found))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AskingWorld]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield AskingWorld(store)


def names(world: AskingWorld, *pairs: tuple[int, str]) -> list[Binary]:
    """Names as they are stored, each of a tenant."""
    return [each["name"] for each in inserted(world, *({"tenant": t, "name": name} for t, name in pairs))]


def test_values_of_the_context_alone_are_opened_and_listed(world: AskingWorld) -> None:
    smith, sabine, jones, other = names(world, (1, "Smith"), (1, "Sabine"), (1, "Jones"), (2, "Stone"))
    world.values = [{"_id": each} for each in (smith, other, jones, sabine, None)]
    world.cache.clear()
    found = world.listed({"tenant": 1, "name": STARTS})
    assert found == {
        "tenant": 1,
        "name": {"$in": sorted((smith, sabine), key=lambda each: (len(each), bytes(each)))},
    }
    assert world.opened == 3
    assert world.questions[0]["pipeline"][0] == {"$match": {"$and": [{"tenant": 1}]}}
    outside = world.listed({"tenant": 1, "name": {"$not": STARTS}})
    assert jones in bson.encode(outside)
    assert not any(each in bson.encode(outside) for each in (smith, sabine, other))


def test_what_was_rejected_in_one_context_is_judged_in_another(world: AskingWorld) -> None:
    first, second = names(world, (1, "Smith"), (2, "Stone"))
    world.values = [{"_id": first}, {"_id": second}]
    for tenant, stored in ((1, first), (2, second), (1, first)):
        found = world.listed({"tenant": tenant, "name": STARTS})
        assert found["name"] == {"$in": [stored]}


def test_each_branch_has_a_context_of_its_own(world: AskingWorld) -> None:
    first, second = names(world, (1, "Smith"), (2, "Stone"))
    world.values = [{"_id": first}, {"_id": second}]
    world.cache.clear()
    branches = [{"tenant": tenant, "name": STARTS} for tenant in (1, 2, 3, 4, 5)]
    found = world.listed({"$or": branches})["$or"]
    assert [each["name"]["$in"] for each in found] == [[first], [second], [], [], []]
    assert len(world.questions) == 5


def test_a_context_without_a_key_has_no_value_and_gets_none(world: AskingWorld) -> None:
    (stored,) = names(world, (1, "Smith"))
    world.values = [{"_id": stored}]
    assert world.listed({"tenant": 9, "name": STARTS, "mark": "x"})["name"] == {"$in": []}
    assert world.opened == 0
    rows = [world.store.count(number) for number in range(1, len(NAMES) + 1)]
    assert [each.live for each in rows] == [1, 0, 0, 0]


PUSHED = [{"$group": {"_id": None, "least": {"$min": "$name"}}}]
IN_VISITS = {"tenant": 1, "visits": {"$elemMatch": {"owner": 5}}}


@rows(
    "command",
    {"find": "people", "filter": {"name": STARTS}},
    {"find": "people", "filter": {"$or": [{"tenant": 1}, {"name": STARTS}]}},
    {"find": "people", "filter": {"tenant": {"$gt": 1}, "name": STARTS}},
    {"find": "people", "filter": {"notes": "x"}},
    {"find": "people", "filter": {}, "sort": {"name": 1}},
    {"find": "people", "filter": {"tenant": {"$in": [1, 2]}}, "sort": {"name": 1}},
    {"find": "people", "filter": {"visits.owner": 5, "visits.code": STARTS}},
    {"find": "people", "filter": {"visits": {"$elemMatch": {"code": STARTS}}}},
    {"find": "people", "filter": IN_VISITS, "sort": {"visits.code": 1}},
    {"findAndModify": "people", "query": {}, "sort": {"name": 1}, "remove": True},
    {"aggregate": "people", "pipeline": PUSHED, "cursor": {}},
)
def test_where_no_context_is_fixed_nothing_is_asked(world: AskingWorld, command: Body) -> None:
    refused = world.send(command)
    assert (refused["code"], "[context]" in refused["errmsg"]) == (2, True)
    assert world.questions == []


def test_a_sort_in_one_context_lists_its_values_as_they_are_stored(world: AskingWorld) -> None:
    smith, jones, other = names(world, (1, "Smith"), (1, "Jones"), (2, "Adams"))
    world.values = [{"_id": each, "__sealwire": 1} for each in (smith, other, jones)]
    sent = world.send({"find": "people", "filter": {"tenant": 1}, "sort": {"name": 1}, "limit": 1})
    assert jones in bson.encode(sent)
    assert not any(each in bson.encode(sent) for each in (smith, other))
    assert world.questions[0]["pipeline"][0] == {"$match": {"tenant": 1}}


def test_random_values_of_a_context_are_candidates_whichever_version_wraps_their_key(
    world: AskingWorld,
) -> None:
    first, other = (
        each["notes"] for each in inserted(world, {"tenant": 1, "notes": "x"}, {"tenant": 2, "notes": "x"})
    )
    world.values = [{"notes": first}, {"notes": other}]
    keys = [key(name) for name in NAMES if name != "notes"]
    keys += [key("notes", 1, KeyState.DECRYPT_ONLY), key("notes", 2)]
    world.keyring = Keyring(keys)
    world.shared.use_keyring(world.keyring)
    assert world.listed({"tenant": 1, "notes": "x"})["notes"] == {"$in": [first]}


def test_in_one_sub_document_its_own_field_says_the_context(world: AskingWorld) -> None:
    visits = [{"owner": 5, "code": "Sx"}, {"owner": 6, "code": "Sy"}]
    (stored,) = inserted(world, {"tenant": 1, "visits": visits})
    five, six = (each["code"] for each in stored["visits"])
    world.values = [{"_id": five, "__sealwire1": Int64(0)}, {"_id": six, "__sealwire1": Int64(1)}]
    found = world.listed({"visits": {"$elemMatch": {"owner": 5, "code": STARTS}}})
    assert found["visits"]["$elemMatch"] == {"owner": 5, "code": {"$in": [five]}}


def test_an_answer_that_was_altered_or_is_of_another_class_refuses_the_command(world: AskingWorld) -> None:
    stored, other = inserted(world, {"tenant": 1, "name": "Smith"}, {"tenant": 1, "mark": "Smith"})
    name = stored["name"]
    altered = Binary(name[:-1] + bytes([name[-1] ^ 1]), name.subtype)
    for value in (altered, other["mark"]):
        world.values = [{"_id": value}]
        refused = world.listed({"tenant": 1, "name": STARTS})
        assert (refused["code"], "[question]" in refused["errmsg"]) == (238, True)


def test_a_context_whose_key_was_destroyed_meets_no_condition_and_no_negation(world: AskingWorld) -> None:
    smith, other = names(world, (1, "Smith"), (2, "Smith"))
    world.values = [{"_id": smith}, {"_id": other}]
    row = world.resolver.row_of(world.keyring, "name", b"\x12" + (1).to_bytes(8, "little"))
    assert row is not None
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    world.cache.destroy([row.key_id])
    assert world.listed({"tenant": 1, "name": STARTS})["name"] == {"$in": []}
    negated = bson.encode(world.listed({"tenant": 1, "name": {"$not": STARTS}}))
    assert not any(each in negated for each in (smith, other))
    assert world.opened == 0


def test_keys_that_are_nowhere_are_looked_for_together(world: AskingWorld) -> None:
    condition = {"tenant": 9, "mark": "x", "notes": "y"}
    for body in (
        {"find": "people", "filter": condition},
        {"findAndModify": "people", "query": condition, "sort": {"name": 1}, "remove": True},
    ):
        world.asked.clear()
        assert "code" not in world.send(body)
        assert len(world.asked[0].contexts) > 1


def moving_world(world: AskingWorld, *, is_moving: bool) -> None:
    """Names are in clear from now on, or on their way there."""
    pending = key("name", 2, KeyState.PENDING, is_plaintext=True)
    own = [key("name"), pending] if is_moving else [key("name", is_plaintext=True)]
    world.keyring = Keyring([*own, *(key(each) for each in NAMES if each != "name")])
    world.shared.use_keyring(world.keyring)
    if is_moving:
        number = NAMES.index("name") + 1
        world.shared.moves.follow("name", Frontier(number, 1, 2, 2, Window(BEFORE_ALL, BEFORE_ALL)))


@pytest.mark.parametrize("is_between", [False, True])
@pytest.mark.parametrize("is_moving", [False, True])
@pytest.mark.parametrize("more", [{}, {"sort": {"name": 1}}])
def test_while_values_may_be_in_clear_the_command_is_refused(
    world: AskingWorld, is_moving: bool, is_between: bool, more: Body
) -> None:
    (stored,) = names(world, (1, "Smith"))
    world.values = [{"_id": stored, "__sealwire": 1} if more else {"_id": stored}]
    if is_between:
        world.before_answer = lambda: moving_world(world, is_moving=is_moving)
    else:
        moving_world(world, is_moving=is_moving)
    refused = world.listed({"tenant": 1, "name": STARTS}, **more)
    assert (refused["code"], "[question]" in refused["errmsg"]) == (238, True)
    assert len(world.questions) == is_between
