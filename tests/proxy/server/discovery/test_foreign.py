"""Seeds that are of another kind than the others, or no longer what they were."""

from dataclasses import replace

import pytest

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.discovery.foreign import foreign_finding, require_one_kind
from sealwire.proxy.server.discovery.view import ClusterKind, ClusterView
from sealwire.proxy.server.errors import StartReason, TopologyProblem
from sealwire.proxy.server.probe import Hello

A, B = Address("m0", 27017), Address("m1", 27017)
MONGOS = Hello("", (), is_mongos=True)
MEMBER = Hello("rs0", ("m0:27017",))
ALONE = Hello("", (), is_standalone=True)
GHOST = Hello("", ())
SET = ClusterView(ClusterKind.REPLICA_SET, (A,), "rs0")
SHARDED = ClusterView(ClusterKind.SHARDED, (A,))
STANDALONE = ClusterView(ClusterKind.STANDALONE, (A,))


def test_mongos_servers_and_members_of_a_set_are_not_mixed() -> None:
    with pytest.raises(TopologyProblem) as caught:
        require_one_kind({A: MEMBER, B: MONGOS})
    assert caught.value.reason is StartReason.UPSTREAM_MIXED
    assert all(str(server) in str(caught.value) for server in (A, B))
    for hellos in ({A: MEMBER, B: GHOST}, {A: MONGOS, B: ALONE}, {}):
        require_one_kind(hellos)


@pytest.mark.parametrize(
    ("hello", "view"),
    [
        (MEMBER, SHARDED),
        (ALONE, SHARDED),
        (MONGOS, SET),
        (replace(MEMBER, set_name="other"), SET),
        (MEMBER, STANDALONE),
    ],
)
def test_a_server_that_does_not_belong_to_the_others_is_named(hello: Hello, view: ClusterView) -> None:
    finding = foreign_finding(B, hello, view)
    assert finding is not None
    assert finding.fields == {"upstream": str(B)}


@pytest.mark.parametrize(
    ("hello", "view"),
    [(MONGOS, SHARDED), (MEMBER, SET), (GHOST, SET), (ALONE, STANDALONE), (GHOST, STANDALONE)],
)
def test_one_that_belongs_to_them_is_not(hello: Hello, view: ClusterView) -> None:
    assert foreign_finding(B, hello, view) is None
