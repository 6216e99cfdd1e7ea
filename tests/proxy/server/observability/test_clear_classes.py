"""Classes that are stored in clear: logged when that begins and ends, and shown while it lasts."""

import pytest

from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.observability.clear_classes import ClearClasses
from sealwire.proxy.server.observability.metrics import Metrics
from tests.keys.samples import NOW


def keyring(*plaintext: str, names: tuple[str, ...] = ("a", "b", "other")) -> Keyring:
    return Keyring(
        DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64, is_plaintext=name in plaintext)
        for number, name in enumerate(names, start=1)
    )


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
    classes.use_keyring(keyring("b", "a", "other"))
    assert said(caplog) == []
    classes.use_policy(frozenset({"a", "b"}))
    (hint,) = {vars(record)["fields"]["hint"] for record in caplog.records if "a takes" in str(vars(record))}
    assert "sealwire migrate encrypt POLICY a" in hint
    assert said(caplog) == [("WARNING", BEGINS, "a"), ("WARNING", BEGINS, "b")]
    assert classes.shown == ("a", "b")
    classes.use_keyring(keyring("b", "a"))
    assert said(caplog) == []


def test_a_change_is_logged_and_an_empty_keyring_is_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    classes = ClearClasses()
    classes.use_policy(frozenset({"a", "b"}))
    classes.use_keyring(keyring("a"))
    said(caplog)
    classes.use_keyring(Keyring([]))
    assert (said(caplog), classes.shown) == ([], ("a",))
    classes.use_keyring(keyring("b"))
    assert said(caplog) == [("WARNING", BEGINS, "b"), ("INFO", ENDS, "a")]
    classes.use_policy(frozenset({"a"}))
    assert (said(caplog), classes.shown) == ([], ())


def test_each_class_of_the_policy_has_a_figure() -> None:
    metrics = Metrics()
    metrics.show_keyring(keyring("a"))
    metrics.show_policy("0", ["a", "b"])
    page = metrics.render()
    assert b'sealwire_class_plaintext{class="a"} 1.0\n' in page
    assert b'sealwire_class_plaintext{class="b"} 0.0\n' in page
    assert b'class="other"' not in page
    # it has no key whose age could be told
    assert b'sealwire_key_age_seconds{class="a"}' not in page
