"""Either side is cut at every byte of a conversation: no part of a message leaves, and all ends once."""

import struct
from collections.abc import Iterator

import pytest

from sealwire.proxy.session.effects import Close, CloseReason, Effect
from sealwire.proxy.session.session import Session
from tests.faults.conversation import MARKER, TURNS, Heard, Turn, talked

CASES = [pytest.param(place, id=turn.name) for place, turn in enumerate(TURNS)]
ANSWERED = [pytest.param(place, id=turn.name) for place, turn in enumerate(TURNS) if turn.answer]


def ends(effects: list[Effect]) -> list[CloseReason]:
    return [effect.reason for effect in effects if isinstance(effect, Close)]


def assert_deaf(talk: Session, heard: Heard) -> None:
    """After its end a session says nothing, whatever it is told."""
    rest = [effect for turn in TURNS for effect in talk.client_data(turn.asked)]
    rest += [effect for turn in TURNS for effect in talk.server_data(turn.answer)]
    rest += [*talk.client_eof(), *talk.server_eof(), *talk.drain(), *talk.keys_loaded(), *talk.tick(1e9)]
    assert rest == []
    assert MARKER.encode() not in heard.server


def test_the_conversation_uses_what_is_covered() -> None:
    talk, heard = talked(TURNS)
    assert heard.client.count(MARKER.encode()) == 2
    assert MARKER.encode() not in heard.server
    assert sum(MARKER.encode() in turn.asked for turn in TURNS) == 5
    assert talk.idle
    assert_deaf_after(talk, heard)


def assert_deaf_after(talk: Session, heard: Heard) -> None:
    assert ends(talk.client_eof()) == [CloseReason.CLIENT_EOF]
    assert_deaf(talk, heard)


@pytest.mark.parametrize("place", CASES)
def test_a_client_that_is_cut_in_a_message_leaves_nothing_of_it(place: int) -> None:
    before, turn = TURNS[:place], TURNS[place]
    for length in range(len(turn.asked)):
        talk, heard = talked(before)
        assert talk.client_data(turn.asked[:length]) == []
        assert ends(talk.client_eof()) == [CloseReason.CLIENT_EOF]
        assert_deaf(talk, heard)


def in_an_answer(place: int) -> Iterator[tuple[Session, Heard, bytes]]:
    """A talk that waits for an answer, and a beginning of the answer, for each place where it can be cut."""
    turn = TURNS[place]
    for length in range(len(turn.answer)):
        talk, heard = talked(TURNS[:place])
        yield talk, heard.and_then(talk.client_data(turn.asked)), turn.answer[:length]


@pytest.mark.parametrize("place", ANSWERED)
def test_a_server_that_is_cut_in_an_answer_leaves_nothing_of_it(place: int) -> None:
    for talk, heard, beginning in in_an_answer(place):
        assert talk.server_data(beginning) == []
        assert ends(talk.server_eof()) == [CloseReason.SERVER_EOF]
        assert len(talk.unanswered()) <= 1
        assert_deaf(talk, heard)


@pytest.mark.parametrize("place", ANSWERED)
def test_a_client_that_goes_while_its_answer_arrives_ends_both(place: int) -> None:
    for talk, heard, beginning in in_an_answer(place):
        talk.server_data(beginning)
        assert ends(talk.client_eof()) == [CloseReason.CLIENT_EOF]
        assert_deaf(talk, heard)


def whole_messages(data: bytes) -> list[tuple[int, int]]:
    """Size, and the number of the request or of what is answered, of each; nothing may be left over."""
    found, at = [], 0
    while at < len(data):
        size, asked, answered = struct.unpack_from("<iii", data, at)
        found.append((size, answered or asked))
        at += size
    assert at == len(data)
    return found


def pipelined(turns: tuple[Turn, ...]) -> tuple[bytes, bytes]:
    return b"".join(turn.asked for turn in turns), b"".join(turn.answer for turn in turns)


def test_a_cut_in_a_pipeline_leaves_whole_messages_in_their_order() -> None:
    _, whole = talked(TURNS)
    asked, _ = pipelined(TURNS)
    sent = []
    for length in range(len(asked)):
        talk, heard = talked(())
        heard = heard.and_then(talk.client_data(asked[:length]))
        assert ends(talk.client_eof()) == [CloseReason.CLIENT_EOF]
        assert_deaf(talk, heard)
        sent.append(whole_messages(heard.server))
        assert whole_messages(whole.server)[: len(sent[-1])] == sent[-1]
    # the last message is never whole, and the one before it is refused
    assert [len(each) for each in sent] == sorted(len(each) for each in sent)
    assert {len(each) for each in sent} == set(range(len(TURNS) - 1))


def test_a_cut_in_answers_to_a_pipeline_leaves_whole_answers_in_their_order() -> None:
    asked, answers = pipelined(TURNS)
    talk, heard = talked(())
    whole = heard.and_then(talk.client_data(asked)).and_then(talk.server_data(answers))
    found = set()
    for length in range(len(answers)):
        talk, heard = talked(())
        heard = heard.and_then(talk.client_data(asked)).and_then(talk.server_data(answers[:length]))
        assert ends(talk.server_eof()) == [CloseReason.SERVER_EOF]
        assert_deaf(talk, heard)
        assert whole.client.startswith(heard.client)
        found.add(len(whole_messages(heard.client)))
    assert len(found) == len(ANSWERED)
