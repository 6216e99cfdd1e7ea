"""The memory of commands that pass untouched."""

import pytest

from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.passing import PassingCommands
from sealwire.proxy.session.requests import Request, RequestKind

TARGET = (b"find", b"wards", b"stats")
KEPT = Request(RequestKind.COMMAND, "find", "stats.wards"), Count(Counter.COMMANDS, label="find")


def test_what_is_remembered_is_found_by_all_three_names() -> None:
    passing = PassingCommands()
    assert passing.get(TARGET) is None
    passing.remember(TARGET, *KEPT)
    assert passing.get(TARGET) == KEPT
    assert passing.get((b"find", b"wards", b"other")) is None


@pytest.mark.plain_core(reason="replaces a constant")
def test_names_without_end_do_not_make_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.proxy.session.passing._MAX_REMEMBERED", 2)
    passing = PassingCommands()
    for number in range(5):
        passing.remember((b"find", b"%d" % number, b"stats"), *KEPT)
    assert passing.get((b"find", b"0", b"stats")) is None
    assert passing.get((b"find", b"4", b"stats")) == KEPT
