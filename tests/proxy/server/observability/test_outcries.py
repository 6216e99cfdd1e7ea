"""What Python would print on standard error is a line of the log, in its format and without a text."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from sealwire.crypto.x509 import subject_spellings
from sealwire.proxy.server.observability import outcries
from sealwire.proxy.server.observability.logs import LogFormat, LogGate, configure, note
from sealwire.proxy.server.observability.outcries import log_outcries

SECRET = "943 476 5919"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    shown = StringIO()
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    monkeypatch.setattr(outcries, "_gate", LogGate(10.0, lambda: 0.0))
    configure("info", LogFormat.JSON, shown)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_outcries()
        yield shown


def lines(log: StringIO) -> list[dict[str, Any]]:
    text = log.getvalue()
    assert SECRET not in text
    return [json.loads(line) for line in text.splitlines()]


def certificate_of_an_odd_country() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings(action="ignore"):
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "GBR", _validate=False)
    name, now = x509.Name([country]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_what_the_library_says_of_a_clients_certificate_is_one_line(log: StringIO) -> None:
    der = certificate_of_an_odd_country()
    assert subject_spellings(der) == ("C=GBR",)
    (line,) = lines(log)
    assert (line["event"], line["category"], line["level"]) == ("a library warns", "UserWarning", "warning")


def test_a_warning_whose_text_changes_is_let_through_once(log: StringIO) -> None:
    for number in range(5):
        warnings.warn(f"{SECRET} {number}", RuntimeWarning, stacklevel=1)
    (line,) = lines(log)
    assert line["place"].startswith(f"{__file__}:")


class Finalized:
    def __del__(self) -> None:
        raise ValueError(SECRET)


def test_an_exception_that_nobody_can_catch_has_its_class_and_place(log: StringIO) -> None:
    Finalized()
    (line,) = lines(log)
    assert (line["event"], line["place"]) == ("bug: an exception was ignored", "Finalized.__del__")
    assert line["stack"][0] == "builtins.ValueError"


def test_a_thread_that_ends_itself_is_no_bug(log: StringIO) -> None:
    for error in (SystemExit(SECRET), ValueError(SECRET)):
        thread = threading.Thread(target=raise_it, args=(error,), name="admin")
        thread.start()
        thread.join()
    (line,) = lines(log)
    assert (line["event"], line["thread"]) == ("bug: a thread ended", "admin")


def raise_it(error: BaseException) -> None:
    raise error


def test_a_line_that_cannot_be_written_shows_nothing(
    log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    note(logging.getLogger("sealwire.test"), logging.ERROR, "odd", value={SECRET})  # type: ignore[arg-type]
    assert lines(log) == []
    assert capsys.readouterr().err == ""
