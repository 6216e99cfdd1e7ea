"""The memory of commands that pass untouched."""

import pytest

from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.requests import Request, RequestKind
from sealwire.proxy.session.shared import PassingCommands
from tests.policies.support import target

TARGET = target("find", "wards", "stats")
KEPT = Request(RequestKind.COMMAND, "find", "stats.wards"), Count(Counter.COMMANDS, label="find")


def test_what_is_remembered_is_found_by_all_three_names() -> None:
    passing = PassingCommands()
    assert passing.get(TARGET) is None
    passing.remember(TARGET, *KEPT)
    assert passing.get(TARGET) == KEPT
    assert passing.get(target("find", "wards", "other")) is None


@pytest.mark.plain_core(reason="replaces a constant")
def test_names_without_end_do_not_make_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.proxy.session.shared._MAX_REMEMBERED", 2)
    passing = PassingCommands()
    for number in range(5):
        passing.remember(target("find", f"{number}", "stats"), *KEPT)
    assert passing.get(target("find", "0", "stats")) is None
    assert passing.get(target("find", "4", "stats")) == KEPT


def test_a_name_that_no_server_has_is_not_remembered() -> None:
    passing = PassingCommands()
    passing.remember(target("find", "w" * 1000, "stats"), *KEPT)
    assert passing.get(target("find", "w" * 1000, "stats")) is None
    passing.remember(target("find", "w" * 200, "s" * 54), *KEPT)
    assert passing.get(target("find", "w" * 200, "s" * 54)) == KEPT
