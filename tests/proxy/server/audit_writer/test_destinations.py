"""Where copies go: what the configuration may say, and the form of a message."""

from datetime import UTC, datetime

import pytest

from sealwire.proxy.server.audit_writer.destinations import (
    COPY_KINDS,
    CopyTarget,
    parse_copy,
    syslog_message,
)

STDOUT, UNIX, UDP, TCP, TLS = COPY_KINDS


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("stdout", CopyTarget(STDOUT)),
        ("syslog:unix:/dev/log", CopyTarget(UNIX, "/dev/log")),
        ("syslog:udp:log.clinic.example:514", CopyTarget(UDP, "log.clinic.example", 514)),
        ("syslog:tcp:10.0.0.1:601", CopyTarget(TCP, "10.0.0.1", 601)),
        ("syslog:tls:log.clinic.example:6514", CopyTarget(TLS, "log.clinic.example", 6514)),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, target: CopyTarget) -> None:
    assert parse_copy(text) == target
    assert str(target) == text


def test_an_address_of_ipv6_may_stand_in_brackets() -> None:
    assert parse_copy("syslog:udp:[::1]:514") == CopyTarget(UDP, "::1", 514)


@pytest.mark.parametrize(
    "text",
    [
        *("", "stderr", "syslog", "syslog:udp", "syslog:udp:host", "syslog:udp::514", "syslog:udp:host:0"),
        *("syslog:udp:host:65536", "syslog:udp:host:5 4", "syslog:udp:host:\u0665", "syslog:unix:dev/log"),
        *("syslog:http:host:1", "file:/tmp/x"),
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        parse_copy(text)


def test_a_message_has_the_form_of_rfc_5424() -> None:
    moment = datetime(2026, 11, 27, 8, 30, 0, 123_456, UTC)
    message = syslog_message(b'{"n":1}', moment, "ward", 42)
    assert message == b'<109>1 2026-11-27T08:30:00.123Z ward sealwire 42 audit - {"n":1}'
