"""Labels come from closed sets."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.labels import (
    COMMAND_LABELS,
    FAILURES,
    OTHER,
    REFUSAL_LABELS,
    command_label,
    is_policy_reason,
)
from tests.proxy.session.world import command, session


def test_a_command_that_nobody_knows_is_other() -> None:
    assert command_label("find") == "find"
    assert command_label("943 476 5919") == OTHER


def test_every_reason_and_failure_has_a_label() -> None:
    assert all(reason.value in REFUSAL_LABELS for reason in Reason)
    assert all(failure.__name__ in REFUSAL_LABELS for failure in FAILURES)
    assert len(set(REFUSAL_LABELS)) == len(REFUSAL_LABELS)
    assert len(set(COMMAND_LABELS)) == len(COMMAND_LABELS)


def test_a_refusal_is_of_the_policy_and_a_failure_is_not() -> None:
    assert is_policy_reason("range")
    assert not is_policy_reason("LoginNeeded")


FIND = {"find": "patients", "filter": {"nhs_number": {"$gt": "943"}}, "$db": "clinic"}
INSERT = {"insert": "patients", "documents": [{"nhs_number": 5}], "$db": "clinic"}
"""Its one document is refused, so that nothing of it is sent."""
UNKNOWN = {"9434765919": 1, "$db": "clinic"}


@pytest.mark.parametrize(
    ("body", "settings", "counter", "label"),
    [
        (FIND, {}, Counter.COMMANDS_REFUSED, "find"),
        (INSERT, {}, Counter.COMMANDS_REFUSED, "insert"),
        (UNKNOWN, {}, Counter.COMMANDS_REFUSED, OTHER),
        (FIND, {"login_required": True}, Counter.COMMANDS_FAILED, "find"),
    ],
    ids=["refused", "no statement left", "unknown", "no login"],
)
def test_a_command_that_is_not_sent_is_counted_once_by_name_and_outcome(
    body: dict[str, Any], settings: dict[str, Any], counter: Counter, label: str
) -> None:
    effects = session(**settings).client_data(command(body))
    counted = [each for each in effects if isinstance(each, Count) and each.counter is not Counter.REFUSALS]
    assert counted == [Count(counter, label=label)]
