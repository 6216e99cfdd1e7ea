"""The table of states: what leads where, what is an error, and that every state is reached and left."""

import pytest

from sealwire.proxy.session.states import TRANSITIONS, Event, IllegalTransition, State, States
from tests.proxy.session.playbook import Playbook, client, need_keys, server, to_server
from tests.proxy.session.world import body_of, class_id_of, command, reply, sealed

STAY = (State.STAYING, State.DRAINING)
MESSAGES = tuple(state for state in State if state not in {*STAY, State.CLOSED})


def states_in(messages: State, stay: State) -> States:
    states = States()
    states.messages, states.stay = messages, stay
    return states


@pytest.mark.parametrize("messages", [*MESSAGES, State.CLOSED])
@pytest.mark.parametrize("stay", [*STAY, State.CLOSED])
@pytest.mark.parametrize("event", Event)
def test_the_table_alone_says_what_an_event_leads_to(messages: State, stay: State, event: Event) -> None:
    table = {(before, event): after for before, event, after in TRANSITIONS}
    states = states_in(messages, stay)
    if (messages, event) not in table and (stay, event) not in table:
        with pytest.raises(IllegalTransition) as caught:
            states.happened(event)
        assert caught.value.event is event
        assert (states.messages, states.stay) == (messages, stay)
    else:
        states.happened(event)
        assert states.messages is table.get((messages, event), messages)
        assert states.stay is table.get((stay, event), stay)


def test_no_row_contradicts_another_and_none_leads_from_messages_to_stay() -> None:
    assert len({(before, event) for before, event, _ in TRANSITIONS}) == len(TRANSITIONS)
    for before, _, after in TRANSITIONS:
        assert after is State.CLOSED or (before in STAY) is (after in STAY)


def test_every_state_is_reached_and_only_closed_is_never_left() -> None:
    assert {after for _, _, after in TRANSITIONS} | {State.OPEN, State.STAYING} == set(State)
    assert {before for before, _, _ in TRANSITIONS} == set(State) - {State.CLOSED}


@pytest.mark.parametrize("state", [*MESSAGES, *STAY])
def test_a_session_can_end_in_every_state(state: State) -> None:
    assert (state, Event.ENDED, State.CLOSED) in TRANSITIONS


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
