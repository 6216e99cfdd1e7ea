"""The limit of open files follows the connections, as far as the system lets it."""

import resource

import pytest

from sealwire.proxy.server.workers.open_files import allow_connections


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limit that the process has, and after it those that are set."""
    known = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _which: known[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limit: known.append(limit))
    return known


@pytest.mark.parametrize(
    ("connections", "soft"),
    [
        (437, None),  # 2 * 480 + 64 files, since a tenth may come beyond: what there is
        (438, 1026),
        (1833, 4096),
        (1834, 4096),  # the hard limit is the end
    ],
)
def test_two_files_a_connection_and_a_few_besides(
    limits: list[tuple[int, int]], connections: int, soft: int | None
) -> None:
    allow_connections(connections)
    assert limits[1:] == ([] if soft is None else [(soft, 4096)])


def test_a_system_that_allows_too_few_is_named_in_the_log(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    allow_connections(1833)
    assert caplog.records == []
    allow_connections(1834)
    (said,) = caplog.records
    fields = vars(said)["fields"]
    assert (fields["allowed"], fields["needed"]) == (4096, 4098)
    assert "limits.connections" in fields["hint"]


def test_without_a_hard_limit_all_are_allowed(
    limits: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    limits[0] = (1024, resource.RLIM_INFINITY)
    allow_connections(10_000)
    assert limits[1:] == [(22_064, resource.RLIM_INFINITY)]
    assert caplog.records == []
