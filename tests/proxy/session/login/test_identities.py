"""As whom somebody is logged in is decided by what counts now and what the connection shows."""

import pytest

from sealwire.proxy.session.login.identities import (
    NOT_CERTIFIED,
    CertificateIdentity,
    Certified,
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
    identities = {} if counts is None else {"CN=a": counts}
    assert Certified(("CN=a", "other spelling"), shown).identity(identities) is expected


def test_only_the_first_spelling_is_looked_up_and_without_a_certificate_none() -> None:
    assert Certified(("CN=a", "CN=b")).identity({"CN=b": USER, "": USER}) is None
    assert NOT_CERTIFIED.identity({"": USER}) is None


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(USER)
