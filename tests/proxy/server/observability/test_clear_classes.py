"""Classes that are stored in clear: logged when that begins and ends, and shown while it lasts."""

import pytest

from sealwire.proxy.server.observability.clear_classes import ClearClasses
from sealwire.proxy.server.observability.metrics import Metrics


def steps(*names: str) -> dict[str, str]:
    return {name: f"take {name}" for name in names}


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, str]]:
    found = [
        (record.levelname, record.getMessage(), vars(record)["fields"]["class_name"])
        for record in caplog.records
    ]
    caplog.clear()
    return found


BEGINS, ENDS = "class is stored in clear", "class is encrypted"


def test_each_class_of_the_policy_is_logged_once_with_the_next_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    classes = ClearClasses()
    classes.use_keyring(steps("b", "a", "other"))
    assert said(caplog) == []
    classes.use_policy(frozenset({"a", "b"}))
    assert [vars(record)["fields"]["hint"] for record in caplog.records] == [
        "take a takes it in",
        "take b takes it in",
    ]
    assert said(caplog) == [("WARNING", BEGINS, "a"), ("WARNING", BEGINS, "b")]
    assert classes.shown == ("a", "b")
    classes.use_keyring(steps("b", "a"))
    assert said(caplog) == []


def test_a_change_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    classes = ClearClasses()
    classes.use_policy(frozenset({"a", "b"}))
    classes.use_keyring(steps("a"))
    said(caplog)
    classes.use_keyring(steps("b"))
    assert said(caplog) == [("WARNING", BEGINS, "b"), ("INFO", ENDS, "a")]
    classes.use_policy(frozenset({"a"}))
    assert (said(caplog), classes.shown) == ([], ())


def test_each_class_of_the_policy_has_a_figure() -> None:
    metrics = Metrics()
    metrics.clear_classes.use_keyring(steps("a", "other"))
    metrics.show_policy("0", ["a", "b"])
    page = metrics.render()
    assert b'sealwire_class_plaintext{class="a"} 1.0\n' in page
    assert b'sealwire_class_plaintext{class="b"} 0.0\n' in page
    assert b'class="other"' not in page
