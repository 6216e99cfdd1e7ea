"""Which hosts a certificate's names cover: RFC 9525's rules."""

import pytest

from sealwire.crypto.host_names import (
    ascii_host,
    authority,
    is_this_machine,
    names_host,
    server_name,
    whose_address,
)


@pytest.mark.parametrize(
    ("name", "host", "covered"),
    [
        ("db.example", "db.example", True),
        ("DB.Example", "db.example.", True),
        ("db.example", "db.example.org", False),
        ("db.example", "x.db.example", False),
        ("*.clinic.example", "db.clinic.example", True),
        ("*.clinic.example", "clinic.example", False),
        ("*.clinic.example", "a.b.clinic.example", False),
        ("*.example", "clinic.example", False),
        ("d*.clinic.example", "db.clinic.example", False),
        ("*", "localhost", False),
        ("xn--bcher-kva.example", "bücher.example", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("*.0.0.1", "127.0.0.1", False),
        ("db.example", "127.0.0.1", False),
    ],
)
def test_a_name_covers_a_host_or_not(name: str, host: str, covered: bool) -> None:
    assert names_host(("other.example", name), host) is covered


def test_a_host_is_written_as_urls_have_it() -> None:
    assert authority("Bücher.example", 443, 443) == "xn--bcher-kva.example"
    assert authority("::1", 8443, 443) == "[::1]:8443"
    assert ascii_host("192.0.2.1") == "192.0.2.1"


def test_no_names_cover_nothing() -> None:
    assert not names_host((), "db.example")


def test_addresses_are_not_indicated() -> None:
    assert server_name("192.0.2.7") is None
    assert server_name("db.example.") == b"db.example"


@pytest.mark.parametrize(
    ("host", "is_this"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),  # noqa: S104 - compared with
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_this_machine_is_told_without_a_resolver(host: str, *, is_this: bool) -> None:
    assert is_this_machine(host) is is_this


@pytest.mark.parametrize(
    ("host", "whose"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("db.example", "db.example"),
    ],
)
def test_a_client_is_counted_by_the_network_of_one_customer(host: str, whose: str) -> None:
    assert whose_address(host) == whose
