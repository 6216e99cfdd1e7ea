"""Identifiers that are asked for: brought to the type of their class, and never shown."""

import io
import os
import pty
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from sealwire.audit.pseudonyms import Identifier
from sealwire.cli.subjects import ask_identifier, identifier_of, read_policy
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import FieldClass, Mode, ValueType
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.wire import kinds
from tests.support.reasons import raising


def of(value_type: ValueType) -> FieldClass:
    return FieldClass("person", Mode.DETERMINISTIC, value_type)


@pytest.mark.parametrize(
    ("text", "value_type", "kind", "value"),
    [
        ("943 476 5919", ValueType.STRING, kinds.STRING, b"\x0d\0\0\x00943 476 5919\0"),
        ("7", ValueType.INT, kinds.INT, b"\7\0\0\0"),
        ("7", ValueType.LONG, kinds.LONG, b"\7" + bytes(7)),
        ("7.0", ValueType.DOUBLE, kinds.DOUBLE, bytes(6) + b"\x1c\x40"),
        ("1970-01-01", ValueType.DATE, kinds.DATE, bytes(8)),
        ("1970-01-01T01:00+01:00", ValueType.DATE, kinds.DATE, bytes(8)),
        ("0a" * 12, ValueType.OBJECT_ID, kinds.OBJECT_ID, b"\x0a" * 12),
        ("00" * 16, ValueType.BIN_DATA, kinds.BIN_DATA, b"\x10\0\0\0\4" + bytes(16)),
    ],
)
def test_what_a_class_stores(text: str, value_type: ValueType, kind: int, value: bytes) -> None:
    assert identifier_of(text, of(value_type)) == Identifier(kind, value)


@pytest.mark.parametrize(
    ("text", "value_type"),
    [
        ("", ValueType.STRING),
        ("x" * 5000, ValueType.STRING),
        ("\udcff", ValueType.STRING),
        ("secret", ValueType.INT),
        ("3000000000", ValueType.INT),
        ("1" * 30, ValueType.LONG),
        ("nan", ValueType.DOUBLE),
        ("secret", ValueType.DATE),
        ("secret", ValueType.OBJECT_ID),
        ("secret", ValueType.BIN_DATA),
        ("true", ValueType.BOOL),
    ],
)
def test_what_is_no_value_of_the_class(text: str, value_type: ValueType) -> None:
    with pytest.raises(click.UsageError) as caught:
        identifier_of(text, of(value_type))
    assert not text or text not in caught.value.message


POLICY = b"""
version: 1
classes: {person: {mode: deterministic, type: string}}
collections: {clinic.patients: {number: person}}
"""
WITH_SUBJECTS = load_policy(POLICY + b"subjects: {class: person}\n", "policy.yaml")


@pytest.mark.parametrize("line", ["anne\n", "anne\r\n", "anne", "anne\nbill\n"])
def test_without_a_terminal_a_line_is_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(line))
    assert ask_identifier(WITH_SUBJECTS) == Identifier(kinds.STRING, b"\5\0\0\0anne\0")


def test_a_line_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("x" * 5000))
    with pytest.raises(click.UsageError):
        ask_identifier(WITH_SUBJECTS)


def test_a_policy_without_subjects_is_told_of_before_anybody_is_asked() -> None:
    with pytest.raises(click.UsageError):
        ask_identifier(load_policy(POLICY, "policy.yaml"))


def test_on_a_terminal_it_is_typed_and_not_shown(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(POLICY + b"subjects: {class: person}\n")
    program = (
        "import sys; from pathlib import Path\n"
        "from sealwire.cli.subjects import read_policy\n"
        "from sealwire.cli.subjects import ask_identifier\n"
        "print(len(ask_identifier(read_policy(Path(sys.argv[1]))).value))\n"
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-c", program, str(policy)])  # noqa: S606 - no shell
    seen = b""
    with os.fdopen(terminal, "r+b", buffering=0) as screen:
        while b"Value of class person" not in seen:
            seen += screen.read(1024)
        screen.write(b"anne\n")
        with suppress(OSError):  # the other end is closed
            while more := screen.read(1024):
                seen += more
    assert os.waitpid(process, 0)[1] == 0
    assert seen.split()[-1] == b"9"
    assert b"anne" not in seen


def test_a_policy_that_is_only_observed_is_read_by_those_that_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    rules = "version: 1\nclasses: {a: {mode: random}}\ncollections: {clinic.visits: {a: a}}\n"
    path.write_text(rules)
    assert not read_policy(path).observed
    path.write_text(rules + "mode: observe\n")
    assert read_policy(path, may_observe=True).observed == {"clinic.visits"}
    with raising(FileProblem, StartReason.POLICY_OBSERVED) as caught:
        read_policy(path)
    assert "clinic.visits" in str(caught.value)
