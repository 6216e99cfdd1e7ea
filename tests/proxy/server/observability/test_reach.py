"""What is known of servers: a line when one goes and one when it is back, and figures."""

import logging

import pytest
from prometheus_client import CollectorRegistry

from sealwire.proxy.server.health import MAX_SHOWN, Reachable
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.reach import (
    MAX_PAIRS,
    OTHERS,
    PlaintextCounts,
    ServerReach,
    UpstreamReach,
)
from sealwire.proxy.session.effects import Audit, PlaintextMet

REFUSED = ("upstream-refused", "server a:1: connection refused", "is mongod running on that port?")


def servers(*names: str) -> tuple[UpstreamReach, CollectorRegistry]:
    reach, registry = UpstreamReach(), CollectorRegistry()
    reach.use_servers(names)
    registry.register(reach)
    return reach, registry


def test_one_line_tells_that_a_server_goes_and_one_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    server = ServerReach("a:1", lambda: now)
    for _ in range(3):
        server.missed(*REFUSED)
    now = 107.25
    server.returned()
    server.returned()
    gone, back = caplog.records
    assert (gone.getMessage(), gone.levelno) == ("server is down", logging.ERROR)
    assert vars(gone)["fields"]["upstream"] == "a:1"
    assert vars(gone)["fields"]["reason"] == "upstream-refused"
    assert (back.getMessage(), vars(back)["fields"]) == ("server is back", {"upstream": "a:1", "away_s": 7.2})


def test_a_lost_connection_is_a_doubt_and_no_more() -> None:
    server = ServerReach("a:1")
    server.doubt()
    assert (server.is_up, server.is_doubted) == (True, True)
    server.returned()
    assert (server.is_doubted, server.returns) == (False, 0)


def test_a_server_that_is_down_stays_in_doubt_until_it_answers() -> None:
    server = ServerReach("a:1")
    server.missed(*REFUSED)
    assert server.is_doubted
    server.returned()
    assert (server.is_up, server.is_doubted, server.returns, server.opened) == (True, False, 1, 0)


def test_a_connection_alone_does_not_say_that_a_server_is_back(caplog: pytest.LogCaptureFixture) -> None:
    """The kernel accepts for a process that is frozen."""
    server = ServerReach("a:1")
    server.missed(*REFUSED)
    server.reached()
    assert (server.is_up, server.is_doubted, server.returns, server.opened) == (False, True, 0, 1)
    assert [record.getMessage() for record in caplog.records] == ["server is down"]


def test_one_of_two_is_partly_and_both_are_down() -> None:
    reach, registry = servers("a:1", "b:2")
    assert (reach.reach, reach.down) == (Reachable.UP, ())
    reach.servers[1].missed(*REFUSED)
    assert (reach.reach, reach.down) == (Reachable.PARTLY, ("b:2",))
    assert registry.get_sample_value("sealwire_upstream_up", {"upstream": "a:1"}) == 1
    assert registry.get_sample_value("sealwire_upstream_up", {"upstream": "b:2"}) == 0
    reach.servers[0].missed(*REFUSED)
    assert reach.reach is Reachable.DOWN


def test_a_server_that_is_left_out_is_shown_as_down_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    reach, registry = servers("a:1", "b:2")
    for _ in range(2):
        reach.use_servers(["a:1"], ["b:2"])
    assert (reach.reach, reach.down, caplog.records) == (Reachable.PARTLY, ("b:2",), [])
    assert registry.get_sample_value("sealwire_upstream_up", {"upstream": "b:2"}) == 0
    reach.use_servers(["a:1", "b:2"])
    assert (reach.down, reach.servers[1].is_doubted) == (("b:2",), True)
    reach.servers[1].returned()
    assert reach.reach is Reachable.UP
    reach.use_servers([], ["a:1", "c:3"])
    assert (reach.reach, reach.down) == (Reachable.DOWN, ("a:1", "c:3"))


def test_without_a_server_there_is_none_to_be_reached() -> None:
    reach, _ = servers()
    assert (reach.reach, reach.down) == (Reachable.DOWN, ())


def test_connections_and_returns_are_counted_for_each_server() -> None:
    reach, registry = servers("a:1")
    labels = {"upstream": "a:1"}
    assert registry.get_sample_value("sealwire_upstream_reconnects_total", labels) == 0
    reach.servers[0].reached()
    reach.servers[0].missed(*REFUSED)
    reach.servers[0].reached()
    reach.servers[0].returned()
    assert registry.get_sample_value("sealwire_upstream_reconnects_total", labels) == 1
    assert registry.get_sample_value("sealwire_upstream_connections_total", labels) == 2


def test_sums_are_kept_by_namespace_and_path() -> None:
    metrics = Metrics()
    for met in (PlaintextMet("a.b", "c", 2), PlaintextMet("a.b", "d", 1), PlaintextMet("a.b", "c", 5)):
        metrics.plaintext.add(met)
    name = "sealwire_plaintext_values_total"
    assert metrics.value(name, namespace="a.b", path="c") == 7
    assert metrics.value(name, namespace="a.b", path="d") == 1
    assert b'sealwire_plaintext_values_total{namespace="a.b",path="c"} 7.0\n' in metrics.render()


def test_each_pair_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    counts = PlaintextCounts()
    for path in ("c", "d", "c", "d"):
        counts.add(PlaintextMet("a.b", path, 3))
    said = [vars(record)["fields"] for record in caplog.records]
    assert [(fields["namespace"], fields["path"]) for fields in said] == [("a.b", "c"), ("a.b", "d")]
    assert all("sealwire policy drift" in fields["hint"] for fields in said)
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_pair_is_put_on_record_once_a_minute() -> None:
    times = iter((0.0, 0.0, 59.0, 59.0, 60.0, 60.0, 119.0, 119.0, 121.0, 121.0))
    counts = PlaintextCounts(lambda: next(times))
    said = []
    for _ in range(5):
        said += [counts.add(PlaintextMet("a.b", path, 3)) for path in ("c", "d")]
    record = [Audit("plaintext", "a.b", "", path=path) for path in ("c", "d")]
    assert said == [*record, None, None, *record, None, None, *record]


def test_pairs_without_end_become_one(caplog: pytest.LogCaptureFixture) -> None:
    counts = PlaintextCounts()
    for number in range(MAX_PAIRS + 3):
        counts.add(PlaintextMet(f"tenant_{number}.a", "c", 1))
    counts.add(PlaintextMet("tenant_0.a", "c", 1))
    (family,) = counts.collect()
    values = {(sample.labels["namespace"], sample.labels["path"]): sample.value for sample in family.samples}
    assert len(values) == MAX_PAIRS + 1
    assert (values[OTHERS], values["tenant_0.a", "c"]) == (3, 2)
    assert len(caplog.records) == MAX_PAIRS + 1


def test_what_is_shown_is_sorted_and_bounded() -> None:
    counts = PlaintextCounts()
    assert counts.shown() == ()
    for number in reversed(range(MAX_SHOWN + 1)):
        counts.add(PlaintextMet("a.b", f"c{number:02}", 1))
    assert counts.shown() == tuple(("a.b", f"c{number:02}") for number in range(MAX_SHOWN))
