"""Which listener stands for which member."""

from sealwire.proxy.server.config.settings import Address, Discovery, Member, Seeds
from sealwire.proxy.server.discovery.view import PortLayout, PortMap, UnfitMember, layout_of
from sealwire.proxy.server.errors import StartReason

A, B = Address("m0", 27017), Address("m1", 27017)
SETTINGS = Discovery(Seeds((A,)), "::", "proxy.test", 100, 101)


def test_listeners_come_in_the_order_of_their_ports_and_clients_are_told_the_advertised_host() -> None:
    layout = layout_of(SETTINGS, [A, B], PortMap({B: 100, A: 101, Address("gone", 1): 102}))
    assert layout.members == (
        Member(Address("::", 100), Address("proxy.test", 100), B),
        Member(Address("::", 101), Address("proxy.test", 101), A),
    )
    assert layout.names == {"m1:27017": "proxy.test:100", "m0:27017": "proxy.test:101"}


def test_a_member_without_a_port_has_no_listener_and_no_name() -> None:
    layout = layout_of(SETTINGS, [A, B], PortMap({A: 100}))
    assert (layout.withheld, layout.names) == ((B,), {"m0:27017": "proxy.test:100"})
    assert layout != PortLayout(layout.members)


def test_a_member_that_may_not_be_used_keeps_its_port_and_has_no_listener() -> None:
    unfit = UnfitMember(A, StartReason.UPSTREAM_TLS_VERIFY, "", "")
    layout = layout_of(SETTINGS, [A, B], PortMap({A: 100, B: 101}), [unfit])
    assert (layout.names, layout.left_out, layout.withheld) == ({"m1:27017": "proxy.test:101"}, (A,), ())
    assert layout != layout_of(SETTINGS, [B], PortMap({A: 100, B: 101}))


def test_an_operator_is_told_of_whoever_has_no_listener() -> None:
    assert layout_of(SETTINGS, [A], PortMap({A: 100})).findings == []
    unfit = UnfitMember(A, StartReason.UPSTREAM_TLS_VERIFY, "", "")
    left_out, withheld = layout_of(SETTINGS, [A, B], PortMap({A: 100}), [unfit]).findings
    assert (left_out.fields["upstream"], withheld.fields["members"]) == (str(A), str(B))
