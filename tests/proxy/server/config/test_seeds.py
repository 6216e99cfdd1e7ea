"""`upstream.uri`: what a connection string says of where servers are, and what a proxy does not take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.files.errors import SourceError
from sealwire.files.yaml_source import Node
from sealwire.proxy.server.config.seeds import address_of, read_seeds
from sealwire.proxy.server.config.settings import Address, Seeds


def seeds(text: str, *, has_tls: bool = True) -> Seeds:
    return read_seeds(Node("f", 1, 1, text), has_tls=has_tls)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mongodb://a", Seeds((Address("a", 27017),))),
        ("mongodb://a:1,b/?replicaSet=rs0", Seeds((Address("a", 1), Address("b", 27017)), set_name="rs0")),
        ("mongodb://[::1]:5,a/", Seeds((Address("::1", 5), Address("a", 27017)))),
        ("mongodb://a,a:27017/?tls=true", Seeds((Address("a", 27017),))),
        ("mongodb+srv://mongo.example.net", Seeds((), "mongo.example.net")),
        ("mongodb+srv://m.example.net/?srvServiceName=db", Seeds((), "m.example.net", "db")),
        ("mongodb+srv://m.example.net/?srvMaxHosts=2", Seeds((), "m.example.net", srv_most=2)),
        ("mongodb+srv://m.example.net/?replicaSet=r", Seeds((), "m.example.net", set_name="r")),
    ],
)
def test_what_a_string_says(text: str, found: Seeds) -> None:
    assert seeds(text) == found
    assert "//" not in str(found) or found.srv_name


@pytest.mark.parametrize(
    "text",
    [
        "a:27017",
        "http://a",
        "mongodb://",
        "mongodb://a:0",
        "mongodb://a b",
        "mongodb://%2Ftmp%2Fmongodb.sock",
        "mongodb://ann:secret@a",
        "mongodb://ann%40clinic:secret@a",
        "mongodb://a/?authSource=admin",
        "mongodb://a/?tlsCAFile=/x",
        "mongodb://a/?directConnection=true",
        "mongodb://a/?loadBalanced=true",
        "mongodb://a/?readPreference=secondary",
        "mongodb://a/?srvMaxHosts=2",
        "mongodb://a/?tls=false",
        "mongodb+srv://a.b.c:27018",
        "mongodb+srv://a.b.c,d.e.f",
        "mongodb+srv://localhost",
        "mongodb+srv://a.b.c/?srvServiceName=_x._y",
        "mongodb+srv://a.b.c/?srvMaxHosts=many",
        "mongodb+srv://a.b.c/?srvMaxHosts=2&replicaSet=r",
        "mongodb://" + ",".join(f"h{number}" for number in range(51)),
    ],
)
def test_what_a_proxy_does_not_take_is_an_error_that_does_not_quote_it(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        seeds(text)
    assert "secret" not in str(caught.value) + caught.value.hint


def test_tls_is_said_in_one_place() -> None:
    assert seeds("mongodb://a/?tls=false", has_tls=False).addresses
    assert seeds("mongodb+srv://a.b.c/?tls=false", has_tls=False).srv_name
    for text in ("mongodb://a/?tls=true", "mongodb+srv://a.b.c"):
        with pytest.raises(SourceError):
            seeds(text, has_tls=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a", Address("a", 27017)),
        ("a.:5", Address("a", 5)),
        ("[::1]", Address("::1", 27017)),
        ("[::1]:65535", Address("::1", 65535)),
        ("127.0.0.1:1", Address("127.0.0.1", 1)),
        *(
            (text, None)
            for text in ("", ":1", "a:", "a:0", "a:65536", "a:\uff11", "a b:1", "a\n:1", "::1", "a/b")
        ),
    ],
)
def test_an_address(text: str, address: Address | None) -> None:
    assert address_of(text) == address


@given(st.text())
def test_whatever_a_server_calls_itself_only_a_name_and_a_number_come_of_it(text: str) -> None:
    address = address_of(text)
    assert address is None or (address.host.isprintable() and 0 < address.port <= 65535)
