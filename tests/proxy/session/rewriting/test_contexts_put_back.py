"""A class with a key for each context that is put back in clear: what its sessions send.

A value stands where its envelope does, so that a session needs the key of its context to know its form.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, parse_context_header
from sealwire.keys.contexts.cache import ContextCache, ContextWanted
from sealwire.keys.contexts.shredding import announce, readmit, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Frontier, Position, position_of
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import NeedKeys, PauseClient
from sealwire.proxy.session.rewriting import contexts, rewrite
from tests.keys.samples import NOW
from tests.proxy.session.rewriting.test_contexts import body_of, inserted
from tests.proxy.session.rewriting.test_contexts_moving import (
    GIVEN_BACK,
    NOTES_KEY,
    SSN,
    TENANT,
    MovingWorld,
    asked,
    ssn_key,
)
from tests.proxy.session.world import value_bytes

BACK_IN_CLEAR = Keyring(
    [ssn_key(1, KeyState.DECRYPT_ONLY), ssn_key(2, KeyState.ACTIVE, is_plaintext=True), NOTES_KEY]
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MovingWorld]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield MovingWorld(store)


def envelope_of(world: MovingWorld, text: str, tenant: int = 1) -> Binary:
    """The old form of a value. The context gets a key, if it has none."""
    wanted = ContextWanted("ssn", b"\x12" + tenant.to_bytes(8, "little"), True)
    cache = ContextCache()
    cache.put(world.resolver.find(GIVEN_BACK, [wanted]))
    cipher = cache.cipher_for(wanted)
    assert cipher is not None
    return Binary(cipher.encrypt_deterministically(*value_bytes(text)), SUBTYPE)


def place(envelope: Binary) -> Position:
    return position_of(bytes(envelope))


def test_each_value_is_in_clear_up_to_where_the_envelope_of_its_own_context_stands(
    world: MovingWorld,
) -> None:
    """So of two equal values of two tenants one can have moved, and the other not."""
    first, second = sorted((envelope_of(world, "a", tenant), tenant) for tenant in (1, 2))
    world.follow(GIVEN_BACK, place(second[0]), place(second[0]))
    for (envelope, tenant), form in ((first, "a"), (second, second[0])):
        assert inserted(world, {"tenant": tenant, "ssn": "a"})[0]["ssn"] == form
        assert asked(world, tenant=tenant, ssn="a") == form
        assert asked(world, tenant=tenant, ssn={"$in": ["a"]}) == {"$in": [form]}
        assert isinstance(envelope, Binary)
    assert set(world.store.count(SSN).wrapped_by) == {1}


def test_random_classes_beside_it_go_on(world: MovingWorld) -> None:
    world.follow(GIVEN_BACK, AFTER_ALL, AFTER_ALL)
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x", "notes": "y"})
    assert (stored["ssn"], isinstance(stored["notes"], Binary)) == ("x", True)


def test_a_filter_on_a_context_without_a_key_makes_one(world: MovingWorld) -> None:
    """Without it the value stands nowhere, and another session could store it in either form."""
    world.follow(GIVEN_BACK, BEFORE_ALL, BEFORE_ALL)
    found = asked(world, tenant=9, ssn="a")
    assert found == envelope_of(world, "a", 9)
    assert inserted(world, {"tenant": 9, "ssn": "a"})[0]["ssn"] == found


@pytest.mark.parametrize(("tenant", "waits"), [(1, True), (2, False)])
def test_a_value_that_moves_is_waited_for(world: MovingWorld, tenant: int, waits: bool) -> None:
    """An equal value of another tenant is not."""
    own = envelope_of(world, "a")
    envelope_of(world, "a", 2)
    world.follow(GIVEN_BACK, place(own), place(own) + b"\0")
    message = world.command({"find": "people", "filter": {"tenant": tenant, "ssn": "a"}})
    effects = world.answer(world.session.client_data(message))
    assert (PauseClient(True) in effects) is waits


class Server:
    """One document on the server, a job that moves its value, and a session that stores it."""

    def __init__(self, world: MovingWorld, *, is_there: bool) -> None:
        self._world = world
        self.stored: Binary | str | None = envelope_of(world, "a") if is_there else None
        """The value, in the form that it has."""
        self._frontier = Frontier(SSN, 1, 2)

    def _at(self, change: Callable[[Frontier], Frontier]) -> Callable[[], None]:
        def step() -> None:
            self._frontier = change(self._frontier)
            self._world.shared.moves.follow("ssn", self._frontier)

        return step

    def _move(self) -> None:
        if self.stored is not None:
            self.stored = "a"

    def steps(self) -> list[Callable[[], None]]:
        """All that a job does in one window, in which everything lies."""
        return [
            self._at(lambda frontier: frontier.opened(AFTER_ALL)),
            self._at(Frontier.moving),
            self._move,
            self._at(Frontier.closed),
        ]

    def store(self) -> None:
        """Another session's insert: it makes the key and takes the form that is valid, or waits."""
        envelope = envelope_of(self._world, "a")
        if self._frontier.is_over:
            self.stored = "a"
        elif self._frontier.window.is_empty:
            self.stored = envelope


def answers(world: MovingWorld, server: Server, steps: list[Callable[[], None]], at: tuple[int, int]) -> bool:
    """Whether a filter finds what is there when it is sent.

    Its key is searched for after so many steps, and found after so many.
    """
    world.follow(GIVEN_BACK, BEFORE_ALL, BEFORE_ALL)
    effects = world.session.client_data(
        world.command({"find": "people", "filter": {"tenant": 1, "ssn": "a"}})
    )
    (need,) = [each for each in effects if isinstance(each, NeedKeys)]
    searched_at, answered_at = at
    for each in steps[:searched_at]:
        each()
    found = world.resolver.find(GIVEN_BACK, need.contexts)
    for each in steps[searched_at:answered_at]:
        each()
    world.cache.put(found)
    effects = world.session.keys_loaded()
    if PauseClient(True) in effects:
        return True  # it waits until the window is closed
    return server.stored in (None, body_of(effects)["filter"]["ssn"])


ORDERS = [(first, last) for last in range(6) for first in range(last + 1)]
"""When the key is searched for, and found, among five steps of others."""


@pytest.mark.parametrize("at", ORDERS, ids=str)
def test_a_filter_finds_its_value_whatever_a_job_does_while_its_key_is_searched_for(
    world: MovingWorld, at: tuple[int, int]
) -> None:
    server = Server(world, is_there=True)
    assert answers(world, server, server.steps(), at)


@pytest.mark.parametrize("stored_at", range(5))
@pytest.mark.parametrize("at", ORDERS, ids=str)
def test_a_filter_finds_a_value_that_another_session_stores_meanwhile(
    world: MovingWorld, at: tuple[int, int], stored_at: int
) -> None:
    """Nobody had a key of the context before."""
    server = Server(world, is_there=False)
    steps = server.steps()
    steps.insert(stored_at, server.store)
    assert answers(world, server, steps, at)


@pytest.mark.plain_core("a compiled module cannot be patched")
def test_without_that_key_a_filter_would_miss_its_value(
    world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that the rule is for: nobody had a key, and then the value was stored."""
    monkeypatch.setattr(rewrite, "wanted_by", lambda planned, _forms: contexts.wanted_by(planned))
    server = Server(world, is_there=False)
    assert not answers(world, server, [server.store, *server.steps()], (0, 1))


def destroyed(world: MovingWorld) -> None:
    row = world.resolver.row_of(GIVEN_BACK, "ssn", TENANT)
    assert row is not None
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    world.cache.destroy([row.key_id])


@pytest.mark.parametrize("start", [BEFORE_ALL, AFTER_ALL], ids=["before", "after"])
def test_a_context_that_was_destroyed_is_found_nowhere_and_takes_nothing(
    world: MovingWorld, start: Position
) -> None:
    """Not in clear either: what lies there of it, nobody has stored through Sealwire."""
    envelope = envelope_of(world, "a")
    destroyed(world)
    world.follow(GIVEN_BACK, start, start)
    found = asked(world, tenant=1, ssn="a")
    assert parse_context_header(bytes(found))[1] != parse_context_header(bytes(envelope))[1]
    refused = world.send({"insert": "people", "documents": [{"tenant": 1, "ssn": "a"}]})
    assert (refused["ok"], refused["code"]) == (0.0, 211)


def test_it_waits_for_no_window(world: MovingWorld) -> None:
    envelope_of(world, "a")
    destroyed(world)
    world.follow(GIVEN_BACK, BEFORE_ALL, AFTER_ALL)
    assert isinstance(asked(world, tenant=1, ssn="a"), Binary)


def test_a_context_that_was_let_in_again_stands_where_its_new_key_says(world: MovingWorld) -> None:
    envelope_of(world, "a")
    destroyed(world)
    row = world.resolver.row_of(GIVEN_BACK, "ssn", TENANT)
    assert row is not None
    readmit(world.store, row)
    own = envelope_of(world, "a")
    world.follow(GIVEN_BACK, place(own), place(own))
    assert asked(world, tenant=1, ssn="a") == own


def test_without_a_frontier_nothing_is_sent(world: MovingWorld) -> None:
    world.follow(GIVEN_BACK, BEFORE_ALL, BEFORE_ALL)
    world.shared.moves.lose("ssn")
    assert world.send({"find": "people", "filter": {"tenant": 1, "ssn": "a"}})["code"] == 262


def test_once_it_is_over_values_pass_as_they_are(world: MovingWorld) -> None:
    world.follow(GIVEN_BACK, AFTER_ALL, AFTER_ALL)
    document: dict[str, Any] = {"tenant": 1, "ssn": "a"}
    assert inserted(world, document) == [document]
    world.follow(BACK_IN_CLEAR, BEFORE_ALL)
    world.shared.moves.forget("ssn")
    world.asked.clear()
    assert inserted(world, document) == [document]
    assert asked(world, tenant=3, ssn="a") == "a"
    assert world.asked == []
