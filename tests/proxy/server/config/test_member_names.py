"""Who listens for whom, as the configuration says it."""

import pytest

from sealwire.proxy.server.config.settings import (
    Address,
    Member,
    TlsMode,
    UpstreamTls,
)
from tests.proxy.server.config_texts import (
    EVERYWHERE,
    SET,
    SHORT,
    error_of,
    parse,
)


def test_a_replica_set_has_a_listener_for_each_member_and_shares_the_rest() -> None:
    config = parse(SET)
    assert config.members == (
        Member(Address("127.0.0.1", 27018), Address("127.0.0.1", 27018), Address("a", 27017)),
        Member(Address(EVERYWHERE, 27019), Address("proxy", 27019), Address("b", 27017)),
    )
    assert config.upstream_tls == UpstreamTls(TlsMode.TLS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"b:27017"', '"a:27017"'),
        ('"proxy:27019"', '"127.0.0.1:27018"'),
        (', advertise: "proxy:27019"', ""),
        ("listen: {tls", 'listen: {address: "x:1", tls'),
        ("upstream: {tls", 'upstream: {address: "x:1", tls'),
    ],
)
def test_members_that_cannot_be_told_apart_or_reached_are_refused(old: str, new: str) -> None:
    assert old in SET
    assert error_of(SET.replace(old, new)).line in (1, 2, 5)


def test_an_empty_list_of_members_is_refused() -> None:
    lines = [line for line in SET.splitlines() if not line.startswith("  -")]
    assert error_of("\n".join(lines).replace("members:", "members: []")).line == 3


def test_addresses_are_written_as_mongodb_writes_them() -> None:
    assert (str(Address("::1", 1)), str(Address("a", 2))) == ("[::1]:1", "a:2")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1:27018", "127.0.0.1:", ":27018", "127.0.0.1:65536", "127.0.0.1:\u0661"]
)
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    assert SHORT.count("127.0.0.1:27018") == 1
    assert error_of(SHORT.replace("127.0.0.1:27018", address)).line == 1


def test_one_server_has_one_listener_and_servers_that_are_found_have_none_yet() -> None:
    assert parse(SHORT.replace("127.0.0.1:27018", "[::1]:27018")).members == (
        Member(Address("::1", 27018), Address("::1", 27018), Address("mongo", 27017)),
    )
    found = SHORT.replace('address: "mongo:27017"', 'uri: "mongodb://mongo"')
    assert parse(found.replace('"127.0.0.1:27018"', "127.0.0.1, ports: 27018-27020")).members == ()
