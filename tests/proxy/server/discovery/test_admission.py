"""Which named servers may be members: never this machine by a name of its own, nor the proxy itself."""

from dataclasses import replace

import pytest

from sealwire.proxy.server.config.settings import Address, Config, Discovery, Member, Seeds
from sealwire.proxy.server.discovery.finder import is_own, refused
from tests.proxy.server.harness import make_config

SEED = Address("db1.example.org", 27017)


def is_refused(host: str, *seeds: Address, domains: tuple[str, ...] = ()) -> bool:
    settings = Discovery(Seeds(seeds), "127.0.0.1", "proxy.test", 100, 105, domains=domains)
    return refused(Address(host, 27017), settings, seeds) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "localhost", "a.localhost", "LOCALHOST"),
        *("169.254.169.254", "fe80::1", "0.0.0.0", "::", "::ffff:127.0.0.1"),  # noqa: S104 - compared with
    ],
)
def test_a_name_that_means_the_readers_own_machine_is_no_member_unless_a_seed_is_one(host: str) -> None:
    assert is_refused(host, SEED)
    assert not is_refused(host, Address("127.0.0.1", 1))


@pytest.mark.parametrize("host", ["db2.example.org", "other.example.net", "10.0.0.7", "fd00::7"])
def test_without_domains_every_other_name_may_be_one(host: str) -> None:
    assert not is_refused(host, SEED)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("db2.example.org", False),
        ("DB2.Example.Org", False),
        ("example.org", False),
        ("badexample.org", True),
        ("db2.example.net", True),
        ("10.0.0.7", False),
        ("10.0.0.8", True),
        ("seed.example.net", False),
    ],
)
def test_with_domains_members_that_are_no_seeds_have_to_be_of_one(host: str, *, expected: bool) -> None:
    seed = Address("Seed.example.net", 27017)
    assert is_refused(host, seed, domains=("example.org", "10.0.0.7")) is expected


def following(listen: str) -> Config:
    found = Discovery(Seeds((SEED,)), listen, "proxy.test", 100, 105)
    return replace(make_config(1), members=(), discovery=found, admin=Address("127.0.0.1", 9216))


@pytest.mark.parametrize(
    ("listen", "peer", "expected"),
    [
        ("127.0.0.1", Address("127.0.0.1", 105), True),
        ("127.0.0.1", Address("127.0.0.1", 106), False),
        ("127.0.0.1", Address("127.0.0.2", 105), False),
        ("0.0.0.0", Address("127.0.0.2", 100), True),  # noqa: S104 - compared with
        ("0.0.0.0", Address("192.0.2.1", 100), False),  # noqa: S104 - compared with
        ("localhost", Address("127.0.0.1", 100), True),
        ("192.0.2.1", Address("127.0.0.1", 9216), True),
    ],
)
def test_where_the_proxy_listens_is_known_by_numeric_address_and_port(
    listen: str, peer: Address, *, expected: bool
) -> None:
    assert is_own(peer, following(listen)) is expected


def test_listed_members_listeners_are_the_proxys_own_too() -> None:
    here = Address("127.0.0.1", 27018)
    config = replace(make_config(1), members=(Member(here, here, SEED),))
    assert is_own(here, config)
    assert not is_own(SEED, config)
