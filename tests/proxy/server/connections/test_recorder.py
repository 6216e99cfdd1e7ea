"""Tests for sealwire.proxy.server.connections.recorder."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Name, NameAttribute
from cryptography.x509.oid import NameOID

from sealwire.crypto.x509 import MAX_LINE
from sealwire.proxy.server.connections.recorder import (
    MAX_ADDRESSES,
    WINDOW_S,
    FailedLogins,
    LineRecorder,
    Unrecorded,
    is_of_nobody,
    names_of,
    signer_of,
    subject_of,
)
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import UNANSWERED, Audit, Begun, CommandRecord, Done, PlaintextMet
from sealwire.proxy.session.login.caller import Caller
from tests.crypto.test_x509 import signed
from tests.support.rows import rows

REFUSED = Audit("refused", "clinic.patients", "find", "range", "nhs_number")


class Transport:
    """A transport whose client has an address, and has shown a certificate, or none."""

    def __init__(self, der: bytes | None = None, peer: Any = ("10.0.0.7", 4711)) -> None:
        self._der, self._peer = der, peer

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        assert binary_form
        return self._der

    def get_extra_info(self, name: str) -> Any:
        return {"ssl_object": self, "peername": self._peer}[name]


class Sink:
    """Takes lines until it is full."""

    def __init__(self, room: int) -> None:
        self.is_full = False
        self.lines: list[tuple[Any, Any]] = []
        self._room = room

    def write(self, record: Any, origin: Any) -> bool:
        self.lines.append((record, origin))
        return len(self.lines) <= self._room


def unheard() -> FailedLogins:
    return FailedLogins(lambda _record, _origin: True, lambda: 0.0)


def recorder(
    sink: Sink, plaintext: Any = None, der: bytes | None = None, failed_logins: FailedLogins | None = None
) -> LineRecorder:
    failed_logins = failed_logins or unheard()
    return LineRecorder(cast(Any, sink), failed_logins, plaintext, cast(Any, Transport(der)), 3)


def test_a_line_says_whose_session_it_was_and_a_login_changes_that() -> None:
    sink, nobody, ann = Sink(9), Caller(), Caller(("ann@admin",))
    found = recorder(sink)
    for caller in (nobody, nobody, ann):
        found.report(REFUSED, caller)
    first, second, third = (origin for _, origin in sink.lines)
    assert (first.client, first.connection, first.caller) == ("10.0.0.7:4711", 3, nobody)
    assert second is first
    assert third.caller is ann


def test_a_command_that_begins_where_nothing_more_can_be_recorded_is_not_sent() -> None:
    begun = CommandRecord("clinic.patients", "find", written={}, filtered={})
    sink = Sink(9)
    recorder(sink).report(Begun(begun), Caller())
    assert begun.begun_s > 0
    assert sink.lines == []
    sink.is_full = True
    with pytest.raises(Unrecorded):
        recorder(sink).report(Begun(begun), Caller())


def test_what_nobody_has_to_log_in_for_is_gathered() -> None:
    sink, gathered, full = Sink(9), Sink(1), Sink(0)
    failed = Audit("login-failed", "", "saslStart", "code 18")
    recorder(sink, failed_logins=FailedLogins(gathered.write, lambda: 0.0)).report(failed, Caller())
    assert ([record for record, _ in gathered.lines], sink.lines) == ([failed], [])
    with pytest.raises(Unrecorded):
        recorder(sink, failed_logins=FailedLogins(full.write, lambda: 0.0)).report(failed, Caller())


def test_the_line_of_a_command_names_who_has_sent_it_whatever_login_came_after() -> None:
    sink, ann = Sink(9), Caller(("ann@admin",), "ward")
    found = recorder(sink)
    record = CommandRecord("clinic.patients", "find", written={}, filtered={}, users=ann.users)
    for caller in (ann, Caller((), "ward"), Caller(("bob@admin",), "ward")):
        found.report(Done(record, UNANSWERED), caller)
    assert [origin.caller for _, origin in sink.lines] == [ann, ann, ann]


def test_a_line_beside_a_command_names_who_has_sent_it_as_well() -> None:
    sink, ann = Sink(9), Caller(("ann@admin",), "ward")
    found = recorder(sink)
    for users in (None, ann.users, ()):
        withheld = Audit("undecryptable", "clinic.patients", "find", "DecryptionFailed", users=users)
        found.report(withheld, Caller(("bob@admin",), "ward"))
    assert [origin.caller.users for _, origin in sink.lines] == [("bob@admin",), ann.users, ()]


def test_what_cannot_be_recorded_is_said() -> None:
    found = recorder(Sink(0))
    with pytest.raises(Unrecorded):
        found.report(REFUSED, Caller())


@pytest.mark.parametrize("told", [REFUSED, None])
def test_plaintext_is_on_record_when_the_metrics_say_so(told: Audit | None) -> None:
    sink = Sink(9)
    recorder(sink, SimpleNamespace(add=lambda _met: told)).met(PlaintextMet("a.b", "c", 1), Caller())
    assert [record for record, _ in sink.lines] == ([told] if told else [])


@pytest.mark.parametrize(("der", "subject"), [(None, ""), (b"", ""), (b"no certificate", "unreadable")])
def test_a_certificate_that_cannot_be_read_names_nobody(der: bytes | None, subject: str) -> None:
    assert subject_of(cast(Any, Transport(der))) == subject
    assert names_of(cast(Any, Transport(der))) == ()
    assert signer_of(cast(Any, Transport(der))) == ""


def test_a_login_says_which_certificate_it_was() -> None:
    """Two authorities may give the same name to two persons."""
    name = Name([NameAttribute(NameOID.COMMON_NAME, "ward-3")])
    for certificate in (signed(name), signed(name)):
        sink = Sink(9)
        found = recorder(sink, der=certificate.public_bytes(Encoding.DER))
        for record in (Audit("login", "", ""), REFUSED):
            found.report(record, Caller())
        said = [origin.fields.get("fingerprint") for _, origin in sink.lines]
        assert said == [certificate.fingerprint(SHA256()).hex(), None]
    nobody = Sink(9)
    recorder(nobody).report(Audit("login", "", ""), Caller())
    assert "fingerprint" not in nobody.lines[0][1].fields


def test_who_a_client_is_does_not_end_with_the_line_of_a_log() -> None:
    """The end of a subject may name the organization, and a log may cut that off."""
    unit = NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "a" * 60)
    one, two = (
        signed(Name([NameAttribute(NameOID.ORGANIZATION_NAME, end), *[unit] * 6])).public_bytes(Encoding.DER)
        for end in ("Clinic", "Supplier")
    )
    ((one_name,), (two_name,)) = (names_of(cast(Any, Transport(each))) for each in (one, two))
    assert (one_name[:MAX_LINE], one_name[-9:]) == (two_name[:MAX_LINE], ",O=Clinic")
    assert subject_of(cast(Any, Transport(one))) != subject_of(cast(Any, Transport(two)))


def test_a_client_without_an_address_is_unknown() -> None:
    transport = cast(Any, Transport(peer=""))
    none = cast(Any, None)
    assert LineRecorder(none, unheard(), none, transport, 1).peer == "unknown"


# Logins that fail again and again from one address: one line on record for many.


FAILED = Audit("login-failed", "", "saslStart", "code 18")


class Place:
    """A clock, and a log that takes lines or does not."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.lines: list[tuple[Audit, Origin]] = []
        self.takes = True
        self.gathered = FailedLogins(self._write, lambda: self.now_s)

    def _write(self, record: Audit, origin: Origin) -> bool:
        if self.takes:
            self.lines.append((record, origin))
        return self.takes

    def fail(self, client: str, times: int = 1, reason: str = "code 18") -> bool:
        taken = [
            self.gathered.write(replace(FAILED, reason=reason), Origin(client, number))
            for number in range(times)
        ]
        return all(taken)

    def later(self, seconds: float = WINDOW_S) -> None:
        self.now_s += seconds
        self.gathered.tick()

    @property
    def counts(self) -> list[int]:
        return [record.count for record, _ in self.lines]


def test_the_first_has_its_line_at_once_and_what_follows_one_together() -> None:
    place = Place()
    place.fail("10.0.0.1:1", 5000)
    assert place.counts == [1]
    place.later(WINDOW_S / 2)
    assert place.counts == [1]
    place.later()
    assert place.counts == [1, 4999]
    record, origin = place.lines[-1]
    assert (record.event, origin.client, origin.connection) == ("login-failed", "10.0.0.1:1", 4999)


def test_single_failures_that_are_far_apart_have_a_line_each() -> None:
    place = Place()
    for _ in range(3):
        place.fail("10.0.0.1:1")
        place.later()
    assert place.counts == [1, 1, 1]


def test_who_goes_on_has_a_line_for_each_window() -> None:
    place = Place()
    for _ in range(4):
        place.fail("10.0.0.1:1", 100)
        place.later()
    assert sum(place.counts) == 400
    assert len(place.lines) == 5


def test_addresses_are_told_apart_and_ports_and_networks_are_not() -> None:
    place = Place()
    for client in ("10.0.0.1:1", "10.0.0.1:2", "::ffff:10.0.0.1:3", "10.0.0.2:1"):
        place.fail(client)
    for client in ("2001:db8::1:1", "2001:db8::2:1", "2001:db8:0:1::1:1"):
        place.fail(client)
    place.later()
    assert place.counts.count(1) == 5
    assert place.counts.count(2) == 1


def test_addresses_without_number_share_a_line() -> None:
    place = Place()
    for each in range(MAX_ADDRESSES + 500):
        place.fail(f"10.{each // 65536}.{each // 256 % 256}.{each % 256}:1")
    place.later()
    assert len(place.lines) == MAX_ADDRESSES + 2
    assert sum(place.counts) == MAX_ADDRESSES + 500


def test_what_the_log_does_not_take_is_given_again() -> None:
    place = Place()
    place.fail("10.0.0.1:1", 10)
    place.takes = False
    place.later()
    place.fail("10.0.0.1:1", 5)
    place.takes = True
    place.later()
    assert sum(place.counts) == 15


def test_the_first_is_refused_where_the_log_takes_nothing_and_counts_later() -> None:
    place = Place()
    place.takes = False
    assert not place.fail("10.0.0.1:1")
    place.takes = True
    place.later()
    assert place.counts == [1]


@pytest.mark.parametrize("times", [1, 7])
def test_the_end_loses_none(times: int) -> None:
    place = Place()
    place.fail("unknown", times)
    place.gathered.close()
    place.gathered.close()
    assert sum(place.counts) == times


def test_commands_without_a_login_are_gathered_apart_from_failed_logins() -> None:
    place = Place()
    refused = Audit("refused", "", "find", "LoginNeeded")
    for number in range(100):
        place.fail("10.0.0.1:1")
        assert place.gathered.write(refused, Origin("10.0.0.1:1", number))
    place.later()
    assert sorted((record.event, record.count) for record, _ in place.lines) == [
        ("login-failed", 1),
        ("login-failed", 99),
        ("refused", 1),
        ("refused", 99),
    ]


@rows(
    "record, is_gathered",
    (FAILED, True),
    (Audit("refused", "", "find", "LoginNeeded"), True),
    (Audit("refused", "", "authenticate", "CertificateLogin"), True),
    (Audit("refused", "a.b", "find", "range"), False),
    (Audit("break-glass", "a.b", "find"), False),
)
def test_what_needs_a_login_is_not_gathered(record: Audit, is_gathered: bool) -> None:
    assert is_of_nobody(record) is is_gathered
