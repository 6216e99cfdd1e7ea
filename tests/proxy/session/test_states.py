"""The table of states: what leads where, what is an error, and sessions that reach every row of it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from sealwire.proxy.session.effects import Close, CloseReason
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.proxy.session.states import (
    PARTS,
    TRANSITIONS,
    Event,
    IllegalTransition,
    State,
    States,
    Transition,
)
from tests.proxy.session.moving import test_lasting as lasting
from tests.proxy.session.moving.talk import find, sent
from tests.proxy.session.playbook import Playbook, client, need_keys, server, to_server
from tests.proxy.session.sides import test_certificate_login as certificate
from tests.proxy.session.sides.test_ask_values import ASKING, told
from tests.proxy.session.sides.test_ask_values import find as asking
from tests.proxy.session.sides.test_questions import ANN, FIND, MORE, START, YES
from tests.proxy.session.world import body_of, class_id_of, command, reply, sealed, session, session_of

TABLE = {(before, event): after for before, event, after in TRANSITIONS}


def rows_of(event: Event) -> dict[str, dict[State, State]]:
    """By the part that it moves: what an event leads to."""
    rows = {
        part: {state: TABLE[state, event] for state in states if (state, event) in TABLE}
        for part, states in PARTS.items()
    }
    return {part: found for part, found in rows.items() if found}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", [state for state in State if state is not State.CLOSED])
def test_the_table_alone_says_what_an_event_leads_to(state: State, event: Event) -> None:
    states, rows = States(), rows_of(event)
    for part, found in rows.items():
        setattr(states, part, next(iter(found)))
    (part,) = [part for part, members in PARTS.items() if state in members]
    setattr(states, part, state)
    before = {each: getattr(states, each) for each in PARTS}
    expected = before | {each: TABLE[before[each], event] for each in rows if (before[each], event) in TABLE}
    if part in rows and state not in rows[part]:
        with pytest.raises(IllegalTransition) as caught:
            states.happened(event)
        assert caught.value.event is event
        expected = before
    else:
        states.happened(event)
    assert {each: getattr(states, each) for each in PARTS} == expected


def test_an_event_that_one_part_forbids_moves_no_other_part() -> None:
    states = States()
    states.happened(Event.WINDOW_MET)
    states.happened(Event.FRONTIER_MOVED)
    states.happened(Event.PATIENCE_LOST)
    with pytest.raises(IllegalTransition):
        states.happened(Event.WINDOW_MET)
    assert (states.messages, states.command) == (State.OPEN, State.OUT_OF_PATIENCE)


@pytest.mark.parametrize("part", ["messages", "stay"])
def test_nothing_happens_to_what_is_closed(part: str) -> None:
    for event in [event for event in Event if part in rows_of(event)]:
        states = States()
        states.happened(Event.ENDED)
        with pytest.raises(IllegalTransition):
            states.happened(event)


def test_each_state_is_of_one_part_and_no_row_leads_from_one_to_another() -> None:
    part_of = {state: part for part, states in PARTS.items() for state in states}
    assert len(TABLE) == len(TRANSITIONS)
    assert set(part_of) == set(State) - {State.CLOSED}
    assert sum(map(len, PARTS.values())) == len(part_of)
    for before, event, after in TRANSITIONS:
        assert (event is Event.ENDED) is (after is State.CLOSED)
        assert after is State.CLOSED or part_of[before] == part_of[after]


# ---------------------------------------------------------------------- scripted sessions, one for each story
#
# Each yields after every step, so that its session can be ended there.


def asked_in(effects: list[Any]) -> bytes:
    """The last message that the server gets."""
    found: bytes = [effect.data for effect in effects if hasattr(effect, "data")][-1]
    return found


def answer_to(question: bytes, body: dict[str, Any]) -> bytes:
    return reply(body, int.from_bytes(question[4:8], "little"))


NAMES = {"cursor": {"firstBatch": [], "id": 0, "ns": "clinic.$cmd.listCollections"}, "ok": 1.0}
DENIED = {"ok": 0.0, "code": 13, "errmsg": "no"}
UNHEARD = {"find": "unheard", "$db": "clinic"}
NEWER = {"a": sealed("nhs", "x", version=2)}
Script = Iterator[Session]


def asks_for_names() -> Script:
    for is_shown in (True, False):
        talk = session()
        question = asked_in(talk.client_data(command(UNHEARD, 1)))
        yield talk
        if not is_shown:
            question = asked_in(talk.server_data(answer_to(question, DENIED)))
            yield talk
        talk.server_data(answer_to(question, NAMES))
        yield talk


def misses_a_key_while(question_is_for: dict[str, Any], *answers: dict[str, Any]) -> Script:
    """A reply to an earlier command comes while a question is open, and cannot be opened."""
    talk = session()
    talk.client_data(command(FIND, 1))
    question = asked_in(talk.client_data(command(question_is_for, 2)))
    for answer in answers:
        question = asked_in(talk.server_data(answer_to(question, answer)))
    talk.server_data(reply(NEWER, 1))
    yield talk
    talk.keys_loaded()
    yield talk


def misses_keys() -> Script:
    talk = session()
    talk.client_data(command(FIND, 1))
    yield talk
    talk.server_data(reply(NEWER, 1))
    yield talk
    talk.keys_loaded()
    yield talk
    yield from misses_a_key_while(UNHEARD)
    yield from misses_a_key_while(UNHEARD, DENIED)


def log_in(talk: Session, first: int = 1) -> None:
    for number, body, done in ((first, START, False), (first + 1, MORE, True)):
        talk.client_data(command(body, number))
        talk.server_data(reply({**YES, "done": done}, number))


def asks_for_values() -> Script:
    talk = session_of(SessionSettings(ASKING, login_required=False))
    question = asked_in(talk.client_data(command(asking({"$gt": "5"}), 1)))
    yield talk
    number = int.from_bytes(question[4:8], "little")
    question = asked_in(talk.server_data(told(number, sealed("nhs", "7"), cursor_id=5)))
    yield talk
    number = int.from_bytes(question[4:8], "little")
    talk.server_data(told(number, sealed("nhs", "x", version=2), batch="nextBatch"))
    yield talk
    talk.keys_loaded()
    yield talk


def logs_in_by_itself() -> Script:
    talk = session(login_required=True)
    log_in(talk)
    yield talk
    log_in(talk, 3)
    question = asked_in(talk.client_data(command(FIND, 5)))
    yield talk
    talk.server_data(answer_to(question, {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}))
    talk.client_data(command({"hello": 1, "$db": "admin"}, 6))
    # nobody asked for this login; the server says so all the same
    talk.server_data(reply({"ok": 1.0, "speculativeAuthenticate": {"done": True}}, 6))
    yield talk
    talk.client_data(command(START, 7))
    yield talk
    talk.client_data(command({"logout": 1, "$db": "admin"}, 8))
    yield talk
    log_in(talk, 9)
    asked = asked_in(talk.client_data(command(FIND, 11)))
    talk.server_data(answer_to(asked, {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}))
    talk.client_data(command({"logout": 1, "$db": "admin"}, 12))
    log_in(talk, 13)
    talk.client_data(command({"logout": 1, "$db": "admin"}, 15))
    yield talk


def misses_a_key_while_users_are_asked_for() -> Script:
    talk = session(login_required=True)
    log_in(talk)
    question = asked_in(talk.client_data(command(FIND, 5)))
    talk.server_data(answer_to(question, {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}))
    talk.client_data(command(MORE, 6))
    talk.client_data(command(FIND, 7))
    talk.server_data(reply(NEWER, 5))
    yield talk


def logs_in_by_certificate() -> Script:
    talk = certificate.Talk(certificate.SCRAM)
    for number, password in enumerate((b"pencil", b"pen"), 1):
        talk.client(command(certificate.EXPLICIT, number))
        yield talk.session
        talk.scram(password=password)
        yield talk.session
    hello = {"hello": 1, "speculativeAuthenticate": certificate.SPECULATION, "$db": "admin"}
    for number, last in ((11, {"ok": 1.0}), (12, certificate.NO)):
        talk = certificate.Talk(certificate.APP, shown=certificate.APP)
        talk.client(command(hello, number))
        talk.server({"ok": 1.0}, number)
        yield talk.session
        talk.server(last)
        yield talk.session


def misses_a_key_while_logging_in() -> Script:
    talk = certificate.Talk(certificate.APP, shown=certificate.APP)
    log_in(talk.session)
    question = asked_in(talk.client(command(FIND, 5)))
    talk.session.server_data(answer_to(question, {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}))
    talk.client(command(certificate.EXPLICIT, 6))
    talk.session.server_data(reply(NEWER, 5))
    yield talk.session


def waits_for_windows() -> Script:
    talk = session(lasting.KEYRING)
    talk.shared.moves.follow("nhs", lasting.OPEN_AT_MIDDLE)
    sent(talk, find(lasting.HIGH), 1)
    sent(talk, find(lasting.MIDDLE), 2)
    yield talk
    talk.frontier_moved()
    yield talk
    talk.server_data(reply({"a": sealed("nhs", "x", version=9)}, 1))
    yield talk
    talk.keys_loaded()
    talk.shared.moves.follow("nhs", lasting.OPEN_AT_MIDDLE.closed())
    talk.frontier_moved()
    yield talk


def waits_for_a_window_too_long() -> Script:
    talk = session(lasting.KEYRING)
    talk.shared.moves.follow("nhs", lasting.OPEN_AT_MIDDLE)
    sent(talk, find(lasting.MIDDLE))
    talk.tick(0.0)
    talk.tick(talk.shared.settings.key_wait_s)
    yield talk


def drains() -> Script:
    talk = session()
    talk.client_data(command(FIND, 1))
    for _ in range(2):
        assert talk.drain() == []
        yield talk
    talk.server_data(reply({"ok": 1.0}, 1))


SCRIPTS: tuple[Callable[[], Script], ...] = (
    *(
        asks_for_names,
        asks_for_values,
        misses_keys,
        misses_a_key_while_users_are_asked_for,
        misses_a_key_while_logging_in,
    ),
    *(logs_in_by_itself, logs_in_by_certificate),
    *(waits_for_windows, waits_for_a_window_too_long, drains),
)


@pytest.mark.plain_core("a compiled method cannot be watched")
def test_every_row_is_reached_by_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    reached: set[Transition] = set()
    happened = States.happened

    def watched(states: States, event: Event) -> None:
        before = [getattr(states, part) for part in PARTS]
        happened(states, event)
        for state, part in zip(before, PARTS, strict=True):
            if (state, event) in TABLE:
                reached.add(Transition(state, event, getattr(states, part)))

    monkeypatch.setattr(States, "happened", watched)
    for script in SCRIPTS:
        for last in range(len(list(script()))):
            talk = next(islice(script(), last, None))
            assert talk.client_eof() == [Close(CloseReason.CLIENT_EOF)]
    assert reached == set(TRANSITIONS)


def test_a_key_can_be_missed_while_a_question_is_open(play: Playbook) -> None:
    first = command({"find": "patients", "$db": "clinic"}, 1)
    second = command({"find": "unheard", "$db": "clinic"}, 2)
    play >> client(first) << to_server(first)
    effects = play.session.client_data(second)
    question = next(effect.data for effect in effects if hasattr(effect, "data"))
    play >> server(reply({"a": sealed("nhs", "x", version=2)}, 1)) << need_keys((class_id_of("nhs"), 2))
    third = command({"ping": 1, "$db": "admin"}, 3)
    play >> client(third)
    answer = {"cursor": {"firstBatch": [], "id": 0, "ns": "clinic.$cmd.listCollections"}, "ok": 1.0}
    number = int.from_bytes(question[4:8], "little")
    assert body_of(question)["listCollections"] == 1
    play >> server(reply(answer, number))
    effects = play.session.keys_loaded()
    sent = [effect.data for effect in effects if hasattr(effect, "data")]
    # the reply that cannot be opened, then what waited for the answer, in order
    assert body_of(sent[0])["code"] == 211
    assert sent[1:] == [second, third]
