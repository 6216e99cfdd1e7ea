"""As whom somebody is logged in is decided by what counts now and what the connection shows."""

import pytest

from sealwire.proxy.session.login.identities import (
    NOT_CERTIFIED,
    CertificateIdentity,
    Certified,
    Holder,
    Identities,
    ScramIdentity,
    UpstreamIdentity,
)
from sealwire.proxy.session.login.scram import ScramHash, ScramSecret

USER = ScramIdentity("app", "admin", ScramSecret(ScramHash.SHA_256, b"hunter2"))
APP, OTHER = CertificateIdentity("CN=app"), CertificateIdentity("CN=other")


@pytest.mark.parametrize(
    ("counts", "shown", "expected"),
    [
        (USER, None, USER),
        (USER, APP, USER),
        (APP, APP, APP),
        (APP, OTHER, None),
        (APP, None, None),
        (None, APP, None),
    ],
)
def test_a_certificate_counts_only_where_the_connection_shows_it(
    counts: UpstreamIdentity | None, shown: UpstreamIdentity | None, expected: UpstreamIdentity | None
) -> None:
    identities = {} if counts is None else {Holder("CN=a"): counts}
    assert Certified(("CN=a", "other spelling"), shown).identity(identities) is expected


def test_only_the_first_spelling_is_looked_up_and_without_a_certificate_none() -> None:
    identities = {Holder("CN=b"): USER, Holder(""): USER}
    assert Certified(("CN=a", "CN=b")).identity(identities) is None
    assert NOT_CERTIFIED.identity(identities) is None


@pytest.mark.parametrize(
    ("issuer", "expected"), [("CN=Clinic CA", USER), ("CN=Supplier CA", APP), ("CN=third", None), ("", None)]
)
def test_the_same_subject_of_another_authority_is_another_person(
    issuer: str, expected: UpstreamIdentity | None
) -> None:
    identities: Identities = {Holder("CN=a", "CN=Clinic CA"): USER, Holder("CN=a", "CN=Supplier CA"): APP}
    assert Certified(("CN=a",), APP, issuer).identity(identities) is expected


def test_an_entry_without_an_issuer_is_for_those_that_no_other_names() -> None:
    identities: Identities = {Holder("CN=a", "CN=Clinic CA"): USER, Holder("CN=a"): APP}
    found = [Certified(("CN=a",), APP, issuer).identity(identities) for issuer in ("CN=Clinic CA", "CN=x")]
    assert found == [USER, APP]


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(USER)
