"""How long a lease may be relied on."""

from datetime import UTC, datetime, timedelta

from sealwire.keys.frontier.record import LEASE_S, outlived_s
from sealwire.proxy.server.frontiers.store import RENEW_S, OwnLease, Renewal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = Renewal("a", {7: 3})
NOTHING = Renewal("a")


def test_it_stands_from_the_moment_before_it_was_renewed() -> None:
    lease = OwnLease()
    assert not lease.has_run_out(0.0)
    assert lease.renew(NOW, TOLD, 100.0)
    assert (lease.is_registered, lease.told) == (True, TOLD)
    assert not lease.has_run_out(99.9 + LEASE_S)
    assert lease.has_run_out(100.0 + LEASE_S)


def test_it_runs_out_here_before_it_does_for_the_job() -> None:
    assert outlived_s(0.0) > LEASE_S


def test_it_is_gone_when_its_document_is() -> None:
    lease = OwnLease()
    assert lease.renew(NOW, NOTHING, 0.0)
    assert not lease.renew(None, TOLD, 1.0)


def test_a_clock_that_stood_still_is_noticed_by_the_servers() -> None:
    lease = OwnLease()
    assert lease.renew(NOW, NOTHING, 0.0)
    assert lease.renew(NOW + timedelta(seconds=LEASE_S - 0.1), NOTHING, 1.0)
    assert not lease.renew(NOW + timedelta(seconds=2 * LEASE_S), NOTHING, 2.0)


def test_it_begins_again_under_another_name_and_with_nothing_said() -> None:
    lease = OwnLease()
    before = lease.proxy
    assert lease.renew(NOW, TOLD, 0.0)
    lease.begin_again()
    assert lease.proxy != before
    assert (lease.is_registered, lease.told) == (False, Renewal(lease.proxy))
    assert lease.renew(NOW + timedelta(seconds=2 * LEASE_S), NOTHING, 20.0)


def test_it_is_due_at_first_with_something_to_tell_and_after_a_while() -> None:
    lease = OwnLease()
    assert lease.is_due(NOTHING, 100.0)
    assert lease.renew(NOW, NOTHING, 100.0)
    assert not lease.is_due(NOTHING, 99.9 + RENEW_S)
    assert lease.is_due(NOTHING, 100.1 + RENEW_S)
    assert lease.is_due(TOLD, 100.0)
    assert lease.is_due(Renewal("a", {}, {(7, 2): 3}), 100.0)
