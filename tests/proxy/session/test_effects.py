"""The vocabulary of effects: a closed union of frozen values with stable names."""

from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import get_args

import pytest

from sealwire.proxy.session.effects import (
    Audit,
    Begun,
    Close,
    CloseReason,
    Count,
    Counter,
    Done,
    Effect,
    GoOn,
    LongToClient,
    LongToServer,
    NeedKeys,
    PauseClient,
    PlaintextMet,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.records import UNANSWERED, CommandRecord

MADE_OFTEN = ToServer | ToClient | Begun | Done | Count
RECORD = CommandRecord("a.b", "find", written={}, filtered={})
ONE_OF_EACH: list[Effect] = [
    ToServer(b"x"),
    ToClient(b"x"),
    LongToServer([b"x"]),
    LongToClient([b"x"]),
    NeedKeys(((1, 2),)),
    PauseClient(True),
    GoOn(True),
    Close(CloseReason.DRAINED),
    Audit("refused", "a.b", "find"),
    Begun(RECORD),
    Done(RECORD, UNANSWERED),
    Count(Counter.COMMANDS),
    PlaintextMet("a.b", "c", 2),
    StrangerMet(),
]


def test_the_union_has_these_members_and_no_other() -> None:
    assert {type(effect) for effect in ONE_OF_EACH} == set(get_args(Effect))


@pytest.mark.parametrize("effect", ONE_OF_EACH)
def test_an_effect_is_a_value(effect: Effect) -> None:
    assert is_dataclass(effect)
    assert not hasattr(effect, "__dict__")
    assert effect == type(effect)(*(getattr(effect, each.name) for each in fields(effect)))
    assert effect != object()


@pytest.mark.parametrize(
    "effect",
    [each for each in ONE_OF_EACH if fields(each) and not isinstance(each, MADE_OFTEN)],
)
def test_all_but_those_made_for_each_message_are_frozen(effect: Effect) -> None:
    name = fields(effect)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(effect, name, None)


@pytest.mark.parametrize("names", [CloseReason, Counter])
def test_the_names_are_distinct_and_fit_for_labels(names: type[CloseReason] | type[Counter]) -> None:
    values = [str(member.value) for member in names]
    assert len(set(values)) == len(values)
    assert all(value.isascii() and value.islower() and " " not in value for value in values)


def test_a_count_is_one_without_a_label() -> None:
    assert Count(Counter.REFUSALS) == Count(Counter.REFUSALS, 1, "")
