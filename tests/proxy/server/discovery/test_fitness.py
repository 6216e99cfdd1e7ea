"""Which servers may be used, as their answers say."""

from sealwire.proxy.server.config.settings import AccessControl, Address
from sealwire.proxy.server.discovery.view import UnfitMember, judged, unfit_of
from sealwire.proxy.server.errors import AccessProblem, StartReason, UpstreamUnavailable
from sealwire.proxy.server.probe import Hello

A, B = Address("m0", 27017), Address("m1", 27017)
ASKS = Hello("rs0", (), AccessControl.REQUIRED)
OPEN = Hello("rs0", (), AccessControl.NONE)
SILENT = Hello("rs0", ())
IMPOSTOR = UpstreamUnavailable(StartReason.UPSTREAM_TLS_VERIFY, "server m0:27017: its certificate")
DOWN = UpstreamUnavailable(StartReason.UPSTREAM_REFUSED, "server m0:27017: refused")
WANTED, UNWANTED = AccessControl.REQUIRED, AccessControl.NONE


def test_a_certificate_that_is_not_accepted_and_a_missing_login_speak_against_a_server() -> None:
    assert unfit_of(A, IMPOSTOR, UNWANTED) is IMPOSTOR
    error = unfit_of(A, OPEN, WANTED)
    assert isinstance(error, AccessProblem)
    assert str(A) in str(error)
    assert [unfit_of(A, each, WANTED) for each in (ASKS, SILENT, DOWN)] == [None] * 3
    assert unfit_of(A, OPEN, UNWANTED) is None


def test_what_is_known_against_a_server_counts_until_it_answers_as_it_should() -> None:
    impostor, without_login = judged({}, {A: IMPOSTOR}, WANTED), judged({}, {A: OPEN}, WANTED)
    for known in (impostor, without_login):
        assert judged(known, {A: DOWN, B: ASKS}, WANTED) == known
        assert judged(known, {A: ASKS}, WANTED) == {}
    assert judged(impostor, {A: SILENT}, WANTED) == {}
    assert judged(without_login, {A: SILENT}, WANTED) == without_login
    assert judged(without_login, {A: OPEN}, UNWANTED) == {}


def test_who_is_no_longer_asked_is_forgotten() -> None:
    assert judged({A: IMPOSTOR}, {B: ASKS}, WANTED) == {}


def test_an_operator_is_told_which_server_it_is_and_why() -> None:
    finding = UnfitMember(A, IMPOSTOR.reason, str(IMPOSTOR), "").finding
    assert finding.fields == {"upstream": str(A), "reason": "upstream-tls-verify"}
