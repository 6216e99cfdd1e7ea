"""Answers with many values: they are opened together, and a reply that is the same is known by its bytes."""

import pytest
from bson import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.questions import QuestionBounds
from sealwire.proxy.session.effects import Counter
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session.playbook import Playbook, audit, client, error, pause, server, to_server
from tests.proxy.session.sides.test_ask_values import (
    ASKING,
    UNANSWERED,
    UNASKED,
    ask_again,
    asked,
    asks,
    find,
    told,
)
from tests.proxy.session.world import BATCHING, command, sealed, session_of

MANY = [sealed("nhs", f"{number:03}") for number in range(100)]
"""So many are opened together."""


@pytest.fixture
def batching() -> Playbook:
    return Playbook(session_of(SessionSettings(ASKING, login_required=False), BATCHING))


def test_a_reply_that_is_the_same_is_judged_as_before(batching: Playbook) -> None:
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 100
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 2
    assert ask_again(batching, {"$gt": "097"}, *MANY[1:], found=("098", "099")) == 2
    assert ask_again(batching, {"$gt": "097"}, *MANY, sealed("nhs", "972"), found=("098", "099", "972")) == 3
    assert ask_again(batching, {"$lt": "001"}, *MANY, found=("000",)) == 100
    assert batching.count(Counter.QUESTION_VALUES) == 500


def test_a_reply_is_known_without_its_documents(batching: Playbook) -> None:
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 100
    for known in batching.session.shared.rejected._verdicts.values():
        known.documents.clear()
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 2


def test_of_a_value_that_satisfies_nothing_is_kept(batching: Playbook) -> None:
    """It may be in clear, where a class is stored partly so."""
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 100
    (known,) = batching.session.shared.rejected._verdicts.values()
    held = b"".join([*known.documents, *known.batches])
    assert bytes(MANY[97]) in held
    assert bytes(MANY[98]) not in held


@pytest.mark.plain_core(reason="it replaces a method")
def test_envelopes_of_a_reply_are_opened_together(
    batching: Playbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_one(*_: object) -> None:
        raise AssertionError("a value was opened by itself")

    monkeypatch.setattr(Keyring, "open_envelope", open_one)
    assert ask_again(batching, {"$gt": "097"}, *MANY, found=("098", "099")) == 100


def test_a_reply_that_is_the_same_counts_for_the_bound(batching: Playbook) -> None:
    assert ask_again(batching, {"$gt": "100"}, *MANY, found=()) == 100
    bounds = QuestionBounds(values=99)
    batching.session.shared.settings = SessionSettings(ASKING, login_required=False, questions=bounds)
    asks(batching, find({"$gt": "100"}), asked(2), told(2, *MANY))
    batching << audit("refused", "clinic.patients", "find", "question-size", "nhs_number")
    batching << error(238, "NotImplemented", 70)


@pytest.mark.parametrize("long", ["x" * 100, "x" * 3000])
def test_among_many_values_long_ones_and_arrays_are_judged(batching: Playbook, long: str) -> None:
    held = [*MANY, sealed("nhs", long), [sealed("nhs", "y1"), sealed("nhs", "0")], None]
    assert ask_again(batching, {"$gte": "x"}, *held, found=(long, "y1")) == 103


def test_among_many_a_value_that_does_not_open_is_never_passed_over(batching: Playbook) -> None:
    broken = Binary(bytes(MANY[50])[:-1] + b"\0", SUBTYPE)
    asks(batching, find({"$gt": "5"}), asked(1), told(1, *MANY, broken)) << UNASKED << UNANSWERED
    assert batching.count(Counter.VALUES_DECRYPTED) == 0


def test_among_many_no_value_of_another_class_is_opened(batching: Playbook) -> None:
    batching >> client(command(find({"$gt": "5"}), 70)) << pause(True) << to_server(asked(1))
    opened = batching.session.shared.keyring.opened
    opened.clear()
    batching >> server(told(1, *MANY, sealed("secret", "9"))) << pause(False) << UNASKED << UNANSWERED
    assert "secret" not in opened.take()
