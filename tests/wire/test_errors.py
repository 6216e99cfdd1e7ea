"""Errors of the wire room: a stable reason, an offset, and nothing of what was read."""

import re
from pathlib import Path

import pytest

import sealwire.proxy.session
import sealwire.wire
from sealwire.wire.errors import BsonError, ProtocolError, WireReason


@pytest.mark.parametrize("kind", [ProtocolError, BsonError])
@pytest.mark.parametrize("reason", WireReason)
def test_an_error_is_its_reason_and_its_offset(kind: type[ProtocolError], reason: WireReason) -> None:
    error = kind(reason, 17)
    assert (error.reason, error.offset) == (reason, 17)
    assert error.args == (f"{reason.value} at byte 17",)
    assert isinstance(error, ProtocolError)


def test_every_reason_is_given_somewhere_and_bson_reasons_by_bson_errors_only() -> None:
    rooms = [*sealwire.wire.__path__, *sealwire.proxy.session.__path__]
    source = "".join(path.read_text() for room in rooms for path in Path(room).rglob("*.py"))
    raised = set(re.findall(r"(BsonError|ProtocolError)\(WireReason\.(\w+)", source))
    assert {reason for _, reason in raised} == {reason.name for reason in WireReason}
    assert {kind == "BsonError" for kind, reason in raised if reason.startswith("BSON_")} == {True}
    assert {kind == "BsonError" for kind, reason in raised if not reason.startswith("BSON_")} == {False}
