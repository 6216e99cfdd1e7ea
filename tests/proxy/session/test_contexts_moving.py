"""A class with a key for each context that is in clear, or is taken in: what its sessions send."""

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
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    Frontier,
    Position,
    Window,
    position_of,
    position_of_plaintext,
)
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session import rewriting
from sealwire.proxy.session.effects import Effect, NeedKeys, PauseClient
from tests.keys.samples import NOW
from tests.proxy.session.test_contexts import POLICY, World, body_of, inserted, key_of
from tests.proxy.session.world import value_bytes

SSN, NOTES = (POLICY.class_names.index(name) + 1 for name in ("ssn", "notes"))
NOTES_KEY = DataKey("notes", NOTES, 1, KeyState.ACTIVE, NOW, bytes([NOTES]) * 64)

TENANT = b"\x12" + (1).to_bytes(8, "little")


def ssn_key(version: int, state: KeyState, *, is_plaintext: bool = False) -> DataKey:
    return DataKey("ssn", SSN, version, state, NOW, bytes([SSN, version]) * 32, is_plaintext=is_plaintext)


IN_CLEAR = Keyring([ssn_key(1, KeyState.ACTIVE, is_plaintext=True), NOTES_KEY])
TAKEN_IN = Keyring([ssn_key(1, KeyState.ACTIVE, is_plaintext=True), ssn_key(2, KeyState.PENDING), NOTES_KEY])
GIVEN_BACK = Keyring(
    [ssn_key(1, KeyState.ACTIVE), ssn_key(2, KeyState.PENDING, is_plaintext=True), NOTES_KEY]
)
TURNING = Keyring([ssn_key(1, KeyState.ACTIVE), ssn_key(2, KeyState.PENDING), NOTES_KEY])


def place(text: str) -> Position:
    return position_of_plaintext(*value_bytes(text))


class MovingWorld(World):
    """Values up to `start` have moved, those up to `end` move."""

    def follow(self, keyring: Keyring, start: Position, end: Position | None = None) -> None:
        self.keyring = keyring
        self.shared.use_keyring(keyring)
        if end is not None:
            self.shared.moves.follow("ssn", Frontier(SSN, 1, 2, 2, Window(start, end)))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MovingWorld]:
    with closing(SqliteContextStore(tmp_path / "contexts.db")) as store:
        yield MovingWorld(store)


def asked(world: World, **condition: Any) -> Any:
    return world.send({"find": "people", "filter": condition})["filter"]["ssn"]


def test_in_clear_values_pass_and_no_context_gets_a_key(world: MovingWorld) -> None:
    world.follow(IN_CLEAR, BEFORE_ALL)
    document = {"tenant": 1, "ssn": "x"}
    assert inserted(world, document) == [document]
    assert asked(world, tenant=1, ssn="x") == "x"
    assert world.asked == []
    (stored,) = inserted(world, {"tenant": 1, "ssn": "x", "notes": "y"})
    assert (stored["ssn"], isinstance(stored["notes"], Binary)) == ("x", True)
    assert {each.class_name for need in world.asked for each in need.contexts} == {"notes"}


def test_in_clear_a_filter_has_to_say_the_context_already(world: MovingWorld) -> None:
    world.follow(IN_CLEAR, BEFORE_ALL)
    assert world.send({"find": "people", "filter": {"ssn": "x"}})["ok"] == 0.0
    (error,) = world.send({"insert": "people", "documents": [{"ssn": "x"}]})["writeErrors"]
    assert "[context]" in error["errmsg"]


def test_what_has_moved_is_under_the_key_of_its_context_and_the_rest_in_clear(world: MovingWorld) -> None:
    world.follow(TAKEN_IN, place("m"), place("m"))
    documents = [{"tenant": tenant, "ssn": ssn} for tenant in (1, 2) for ssn in ("a", "z")]
    stored = inserted(world, *documents)
    assert [each["ssn"] for each in stored[1::2]] == ["z", "z"]
    first, second = stored[0]["ssn"], stored[2]["ssn"]
    assert key_of(first) != key_of(second)
    assert asked(world, tenant=1, ssn="a") == first
    assert asked(world, tenant=2, ssn={"$in": ["a", "z"]}) == {"$in": [second, "z"]}
    # both are keys that outlive the version that is plaintext
    assert set(world.store.count(SSN).wrapped_by) == {2}


def test_a_filter_on_a_context_without_a_key_makes_one_while_the_class_moves(world: MovingWorld) -> None:
    """Else its value could be moved after nobody had a key for it, and before the command is sent."""
    world.follow(TAKEN_IN, place("m"), place("m"))
    found = asked(world, tenant=9, ssn="a")
    assert asked(world, tenant=9, ssn="a") == found
    assert inserted(world, {"tenant": 9, "ssn": "a"})[0]["ssn"] == found


def find_of(value: str, tenant: int = 1) -> dict[str, Any]:
    return {"find": "people", "filter": {"tenant": tenant, "ssn": value}}


def steps_of_a_job(world: MovingWorld, stored: dict[str, Any]) -> list[Callable[[], None]]:
    """All that it does with one value; `stored` is its document on the server."""

    def at(frontier: Frontier) -> Callable[[], None]:
        return lambda: world.shared.moves.follow("ssn", frontier)

    def make_key() -> None:
        world.resolver.find(TAKEN_IN, [ContextWanted("ssn", TENANT, True)])

    def move() -> None:
        stored["ssn"] = envelope_of(world, "a", keyring=TAKEN_IN)

    opened = Frontier(SSN, 1, 2).opened(place("m"))
    moving = opened.moving()
    return [make_key, at(opened), at(moving), move, at(moving.closed())]


def searched(
    world: MovingWorld, keyring: Keyring, steps: list[Callable[[], None]], at: tuple[int, int]
) -> Any:
    """What a filter is sent with; None if it waits until the window is closed.

    Its key is searched for after so many steps, and found after so many.
    """
    effects = world.session.client_data(world.command(find_of("a")))
    (need,) = [each for each in effects if isinstance(each, NeedKeys)]
    searched_at, answered_at = at
    for each in steps[:searched_at]:
        each()
    found = world.resolver.find(keyring, need.contexts)
    for each in steps[searched_at:answered_at]:
        each()
    world.cache.put(found)
    effects = world.session.keys_loaded()
    return None if PauseClient(True) in effects else body_of(effects)["filter"]["ssn"]


def answers(world: MovingWorld, at: tuple[int, int]) -> bool:
    """Whether a filter finds the value: its key is searched for, and then found, after so many steps."""
    stored: dict[str, Any] = {"ssn": "a"}
    world.follow(TAKEN_IN, BEFORE_ALL, BEFORE_ALL)
    sent = searched(world, TAKEN_IN, steps_of_a_job(world, stored), at)
    return sent in (None, stored["ssn"])


ORDERS = [(first, last) for last in range(6) for first in range(last + 1)]


@pytest.mark.parametrize(("searched_at", "answered_at"), ORDERS)
def test_a_filter_finds_its_value_whatever_a_job_does_while_its_key_is_searched_for(
    world: MovingWorld, searched_at: int, answered_at: int
) -> None:
    assert answers(world, (searched_at, answered_at))


@pytest.mark.plain_core("a compiled module cannot be patched")
def test_without_that_key_a_filter_would_miss_its_value(
    world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that the rule is for: nobody had a key, and then the value was moved."""
    wanted_by = rewriting.wanted_by
    monkeypatch.setattr(rewriting, "wanted_by", lambda planned, _forms: wanted_by(planned))
    assert not answers(world, (0, 5))


def waiting(world: MovingWorld, value: str = "b", tenant: int = 1) -> list[Effect]:
    """What becomes of a find, all keys found."""
    return world.answer(world.session.client_data(world.command(find_of(value, tenant))))


def test_a_value_that_moves_is_waited_for(world: MovingWorld) -> None:
    world.follow(TAKEN_IN, place("a"), place("m"))
    inserted(world, {"tenant": 1, "ssn": "z"})
    assert PauseClient(True) in waiting(world)


def test_each_look_at_a_window_may_search_again_for_what_is_known_for_a_moment_only(
    world: MovingWorld,
) -> None:
    """That a context's key was destroyed, or is nowhere, is forgotten while the command waits."""
    world.follow(TAKEN_IN, place("a"), place("m"))
    inserted(world, {"tenant": 1, "ssn": "z"})
    shred_tenant(world)
    effects = waiting(world)
    for _ in range(10):
        assert effects[-1] == PauseClient(True)
        effects = world.answer(world.session.frontier_moved())
    world.shared.moves.follow("ssn", Frontier(SSN, 1, 2, 3, Window(place("m"), place("m"))))
    assert isinstance(body_of(world.answer(world.session.frontier_moved()))["filter"]["ssn"], Binary)


def test_searches_meanwhile_do_not_make_the_wait_at_a_window_longer(world: MovingWorld) -> None:
    world.follow(TAKEN_IN, place("a"), place("m"))
    inserted(world, {"tenant": 1, "ssn": "z"})
    shred_tenant(world)
    waiting(world)
    limit_s = int(world.shared.settings.key_wait_s)
    for second in range(limit_s):
        assert world.session.tick(100.0 + second) == []
        assert world.answer(world.session.frontier_moved())[-1] == PauseClient(True)
    answer = body_of(world.answer(world.session.tick(100.0 + limit_s)))
    assert (answer["ok"], answer["code"]) == (0.0, 262)
    assert answer["errmsg"].startswith("a field moves to another key")


def shred_tenant(world: MovingWorld, keyring: Keyring = TAKEN_IN) -> None:
    row = world.resolver.row_of(keyring, "ssn", TENANT)
    assert row is not None
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    world.cache.destroy([row.key_id])


def test_a_context_that_was_destroyed_is_found_nowhere_and_takes_nothing(world: MovingWorld) -> None:
    world.follow(TAKEN_IN, place("m"), place("m"))
    (stored,) = inserted(world, {"tenant": 1, "ssn": "a"})
    shred_tenant(world)
    found = asked(world, tenant=1, ssn="a")
    assert parse_context_header(bytes(found))[1] != key_of(stored["ssn"])
    refused = world.send({"insert": "people", "documents": [{"tenant": 1, "ssn": "a"}]})
    assert (refused["ok"], refused["code"]) == (0.0, 211)


def test_a_move_from_key_to_key_of_such_a_class_is_not_guessed_at(world: MovingWorld) -> None:
    world.follow(TURNING, place("m"), place("m"))
    for body in (find_of("a"), {"insert": "people", "documents": [{"tenant": 1, "ssn": "a"}]}):
        answer = world.send(body)
        assert (answer["ok"], answer["code"]) == (0.0, 262)


def test_once_it_is_over_the_same_value_is_sent_under_the_key_that_is_active(world: MovingWorld) -> None:
    world.follow(TAKEN_IN, place("m"), place("m"))
    (stored,) = inserted(world, {"tenant": 1, "ssn": "a"})
    after = [ssn_key(1, KeyState.DECRYPT_ONLY, is_plaintext=True), ssn_key(2, KeyState.ACTIVE), NOTES_KEY]
    world.follow(Keyring(after), BEFORE_ALL)
    world.shared.moves.forget("ssn")
    assert asked(world, tenant=1, ssn="a") == stored["ssn"]


BACK_IN_CLEAR = Keyring(
    [ssn_key(1, KeyState.DECRYPT_ONLY), ssn_key(2, KeyState.ACTIVE, is_plaintext=True), NOTES_KEY]
)


def envelope_of(world: MovingWorld, text: str, tenant: int = 1, keyring: Keyring = GIVEN_BACK) -> Binary:
    """The form of a value that is encrypted. The context gets a key, if it has none."""
    wanted = ContextWanted("ssn", b"\x12" + tenant.to_bytes(8, "little"), True)
    cache = ContextCache()
    cache.put(world.resolver.find(keyring, [wanted]))
    cipher = cache.cipher_for(wanted)
    assert cipher is not None
    return Binary(cipher.encrypt_deterministically(*value_bytes(text)), SUBTYPE)


def place_behind(envelope: Binary) -> Position:
    return position_of(bytes(envelope))


def test_each_value_is_in_clear_up_to_where_the_envelope_of_its_own_context_stands(
    world: MovingWorld,
) -> None:
    """So of two equal values of two tenants one can have moved, and the other not."""
    first, second = sorted((envelope_of(world, "a", tenant), tenant) for tenant in (1, 2))
    world.follow(GIVEN_BACK, place_behind(second[0]), place_behind(second[0]))
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
def test_a_value_that_is_put_back_is_waited_for(world: MovingWorld, tenant: int, waits: bool) -> None:
    """An equal value of another tenant is not."""
    own = envelope_of(world, "a")
    envelope_of(world, "a", 2)
    world.follow(GIVEN_BACK, place_behind(own), place_behind(own) + b"\0")
    assert (PauseClient(True) in waiting(world, "a", tenant)) is waits


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


def finds(world: MovingWorld, server: Server, steps: list[Callable[[], None]], at: tuple[int, int]) -> bool:
    """Whether a filter finds what is there when it is sent."""
    world.follow(GIVEN_BACK, BEFORE_ALL, BEFORE_ALL)
    sent = searched(world, GIVEN_BACK, steps, at)
    return sent is None or server.stored in (None, sent)


@pytest.mark.parametrize("at", ORDERS, ids=str)
def test_a_filter_finds_its_value_whatever_puts_it_back_while_its_key_is_searched_for(
    world: MovingWorld, at: tuple[int, int]
) -> None:
    server = Server(world, is_there=True)
    assert finds(world, server, server.steps(), at)


@pytest.mark.parametrize("stored_at", range(5))
@pytest.mark.parametrize("at", ORDERS, ids=str)
def test_a_filter_finds_a_value_that_another_session_stores_meanwhile(
    world: MovingWorld, at: tuple[int, int], stored_at: int
) -> None:
    """Nobody had a key of the context before."""
    server = Server(world, is_there=False)
    steps = server.steps()
    steps.insert(stored_at, server.store)
    assert finds(world, server, steps, at)


@pytest.mark.plain_core("a compiled module cannot be patched")
def test_without_that_key_a_filter_would_miss_a_value_that_is_put_back(
    world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that the rule is for: nobody had a key, and then the value was stored."""
    wanted_by = rewriting.wanted_by
    monkeypatch.setattr(rewriting, "wanted_by", lambda planned, _forms: wanted_by(planned))
    server = Server(world, is_there=False)
    assert not finds(world, server, [server.store, *server.steps()], (0, 1))


@pytest.mark.parametrize("start", [BEFORE_ALL, AFTER_ALL], ids=["before", "after"])
def test_a_destroyed_context_of_a_class_that_is_put_back_is_found_nowhere(
    world: MovingWorld, start: Position
) -> None:
    """Not in clear either: what lies there of it, nobody has stored through Sealwire."""
    envelope = envelope_of(world, "a")
    shred_tenant(world, GIVEN_BACK)
    world.follow(GIVEN_BACK, start, start)
    found = asked(world, tenant=1, ssn="a")
    assert parse_context_header(bytes(found))[1] != parse_context_header(bytes(envelope))[1]
    refused = world.send({"insert": "people", "documents": [{"tenant": 1, "ssn": "a"}]})
    assert (refused["ok"], refused["code"]) == (0.0, 211)


def test_it_waits_for_no_window(world: MovingWorld) -> None:
    envelope_of(world, "a")
    shred_tenant(world, GIVEN_BACK)
    world.follow(GIVEN_BACK, BEFORE_ALL, AFTER_ALL)
    assert isinstance(asked(world, tenant=1, ssn="a"), Binary)


def test_a_context_that_was_let_in_again_stands_where_its_new_key_says(world: MovingWorld) -> None:
    envelope_of(world, "a")
    shred_tenant(world, GIVEN_BACK)
    row = world.resolver.row_of(GIVEN_BACK, "ssn", TENANT)
    assert row is not None
    readmit(world.store, row)
    own = envelope_of(world, "a")
    world.follow(GIVEN_BACK, place_behind(own), place_behind(own))
    assert asked(world, tenant=1, ssn="a") == own


@pytest.mark.parametrize(("keyring", "end"), [(TAKEN_IN, None), (GIVEN_BACK, BEFORE_ALL)])
def test_without_a_frontier_nothing_is_sent(
    world: MovingWorld, keyring: Keyring, end: Position | None
) -> None:
    world.follow(keyring, BEFORE_ALL, end)
    world.shared.moves.lose("ssn")
    assert world.send(find_of("a"))["code"] == 262


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
