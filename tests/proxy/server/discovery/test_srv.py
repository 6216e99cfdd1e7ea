"""What DNS says of a `mongodb+srv://` name, and what of it is believed."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from sealwire.proxy.server.config.settings import Address, Seeds
from sealwire.proxy.server.discovery.srv import LookUp, SrvAnswer, is_inside, look_up, resolve
from sealwire.proxy.server.errors import StartReason, UpstreamUnavailable

SEEDS = Seeds((), "mongo.clinic.example")


def answering(*hosts: tuple[str, int], text: str = "", asked: list[str] | None = None) -> LookUp:
    async def ask(records: str, name: str) -> SrvAnswer:
        if asked is not None:
            asked.extend((records, name))
        return SrvAnswer(hosts, text)

    return ask


async def test_hosts_come_sorted_and_the_name_of_the_set_with_them() -> None:
    asked: list[str] = []
    hosts = ("B.clinic.example", 27018), ("a.clinic.example", 27017)
    found = await resolve(SEEDS, answering(*hosts, text="authSource=x&replicaSet=rs0", asked=asked))
    assert found.addresses == (Address("a.clinic.example", 27017), Address("b.clinic.example", 27018))
    assert (found.set_name, found.srv_name) == ("rs0", SEEDS.srv_name)
    assert asked == ["_mongodb._tcp.mongo.clinic.example", "mongo.clinic.example"]


async def test_a_string_that_lists_hosts_asks_nobody() -> None:
    plain = Seeds((Address("a", 1),))
    asked: list[str] = []
    assert await resolve(plain, answering(asked=asked)) == plain
    assert asked == []


async def test_what_the_string_says_of_the_set_counts_and_of_hosts_the_first() -> None:
    hosts = [(f"m{number}.clinic.example", 1) for number in range(60)]
    said = Seeds((), SEEDS.srv_name, "db", 0, "mine")
    found = await resolve(said, answering(*hosts, text="replicaSet=other"))
    assert (found.set_name, len(found.addresses)) == ("mine", 50)
    two = Seeds((), SEEDS.srv_name, srv_most=2)
    assert len((await resolve(two, answering(*hosts))).addresses) == 2


@pytest.mark.parametrize("text", ["", "replicaSet=", "replicaSet=a b", "xreplicaSet=a", "replicaSet=a\nb"])
async def test_a_text_that_names_no_set_names_none(text: str) -> None:
    assert (await resolve(SEEDS, answering(("a.clinic.example", 1), text=text))).set_name == ""


@pytest.mark.parametrize(
    "host",
    [("a.clinic.example.org", 1), ("clinic.example", 1), ("a.xclinic.example", 1), ("a b", 1), ("x", 1)],
)
async def test_a_host_outside_of_the_domain_is_left_out(host: tuple[str, int]) -> None:
    inside = ("a.clinic.example", 1)
    assert (await resolve(SEEDS, answering(inside, host))).addresses == (Address("a.clinic.example", 1),)
    with pytest.raises(UpstreamUnavailable) as caught:
        await resolve(SEEDS, answering(host))
    assert caught.value.reason is StartReason.UPSTREAM_UNRESOLVED


def test_a_name_of_two_labels_has_hosts_below_it() -> None:
    assert is_inside("a.clinic.example", "clinic.example")
    assert is_inside("a.clinic.example.", "Mongo.Clinic.example")
    assert not is_inside("other.example", "clinic.example")
    assert not is_inside("clinic.example", "clinic.example")


SERVICE = "_mongodb._tcp.mongo.clinic.example."
RECORDS = {
    (SERVICE, "SRV"): ["0 0 27017 a.clinic.example.", "0 0 27018 b.clinic.example."],
    ("mongo.clinic.example.", "TXT"): ['"replicaSet=" "rs0"'],
}


@contextmanager
def dns_server(records: Mapping[tuple[str, str], list[str]]) -> Iterator[dns.asyncresolver.Resolver]:
    """A resolver whose server knows these records, and says of everything else that there is no such name."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            data, client = listening.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            (question,) = query.question
            kind = dns.rdatatype.to_text(question.rdtype)
            reply = dns.message.make_response(query)
            found = records.get((question.name.to_text(), kind))
            if found is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            else:
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
            listening.sendto(reply.to_wire(), client)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = listening.getsockname()[1]
    try:
        yield resolver
    finally:
        listening.sendto(b"", listening.getsockname())
        thread.join(5)
        listening.close()


async def test_a_name_is_looked_up_by_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    with dns_server(RECORDS) as resolver:
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        found = await resolve(SEEDS, look_up)
        assert found.addresses == (Address("a.clinic.example", 27017), Address("b.clinic.example", 27018))
        assert found.set_name == "rs0"
        with pytest.raises(UpstreamUnavailable) as caught:
            await resolve(Seeds((), "other.clinic.example"), look_up)
        assert caught.value.reason is StartReason.UPSTREAM_UNRESOLVED


async def test_without_a_text_record_no_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with dns_server({(SERVICE, "SRV"): RECORDS[SERVICE, "SRV"]}) as resolver:
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        assert (await resolve(SEEDS, look_up)).set_name == ""
