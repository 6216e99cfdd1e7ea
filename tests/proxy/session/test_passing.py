"""The memory of commands that pass untouched."""

import pytest

from sealwire.policies.views import ViewCatalog
from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.passing import PassingCommands
from sealwire.proxy.session.requests import Request, RequestKind
from tests.policies.support import POLICY

TARGET = (b"find", b"wards", b"stats")
KEPT = Request(RequestKind.COMMAND, "find", "stats.wards"), Count(Counter.COMMANDS, label="find")


def test_what_is_remembered_is_found_until_the_views_may_have_changed() -> None:
    views = ViewCatalog(POLICY)
    passing = PassingCommands(views)
    assert passing.get(TARGET) is None
    passing.remember(TARGET, *KEPT)
    assert passing.get(TARGET) == KEPT
    assert passing.get((b"find", b"wards", b"other")) is None
    views.learn("clinic.wards", None)
    assert passing.get(TARGET) is None


def test_what_was_planned_before_a_change_is_not_remembered_after_it() -> None:
    views = ViewCatalog(POLICY)
    passing = PassingCommands(views)
    views.forget()
    passing.remember(TARGET, *KEPT)
    assert passing.get(TARGET) is None


@pytest.mark.plain_core(reason="replaces a constant")
def test_names_without_end_do_not_make_it_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.proxy.session.passing._MAX_REMEMBERED", 2)
    passing = PassingCommands(ViewCatalog(POLICY))
    for number in range(5):
        passing.remember((b"find", b"%d" % number, b"stats"), *KEPT)
    assert passing.get((b"find", b"0", b"stats")) is None
    assert passing.get((b"find", b"4", b"stats")) == KEPT
