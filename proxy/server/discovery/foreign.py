"""Servers that a seed names and that do not belong to the deployment, or are no longer what they were."""

from collections.abc import Mapping
from typing import Final

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.discovery.view import ClusterKind, ClusterView
from sealwire.proxy.server.errors import StartReason, TopologyProblem
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.probe import Hello

_ONE_KIND: Final = "name mongos servers or members of one replica set in upstream.uri, not both"
_RESTART: Final = "name it as rs.conf() does in upstream.uri, and restart: its set is followed from then on"


def require_one_kind(hellos: Mapping[Address, Hello]) -> None:
    """Seeds are mongos servers or members of a set. Raises TopologyProblem where they are mixed."""
    routers = [server for server, hello in hellos.items() if hello.is_mongos]
    members = [server for server, hello in hellos.items() if hello.set_name]
    if routers and members:
        raise TopologyProblem(
            StartReason.UPSTREAM_MIXED,
            f"server {routers[0]} is a mongos, and server {members[0]} a member of a replica set",
            _ONE_KIND,
        )


def foreign_finding(server: Address, hello: Hello, view: ClusterView) -> Finding | None:
    """What is wrong with an answer of a seed for a deployment as `view` has it; None: nothing."""
    match view.kind:
        case ClusterKind.SHARDED if hello.is_mongos:
            return None
        case ClusterKind.SHARDED:
            problem = f"server {server} is no mongos, as the others are: it has no listener"
        case ClusterKind.STANDALONE if hello.set_name:
            problem = (
                f"server {server} was a standalone one, and is a member of a replica set by another name"
            )
            return Finding("server has joined a replica set", problem, _RESTART, {"upstream": str(server)})
        case ClusterKind.REPLICA_SET if hello.is_mongos:
            problem = f"server {server} is a mongos, and the others are members of a replica set"
        case ClusterKind.REPLICA_SET if hello.set_name not in ("", view.set_name):
            problem = f"server {server} is a member of another replica set: it has no listener"
        case _:
            return None
    return Finding("server does not belong to the others", problem, _ONE_KIND, {"upstream": str(server)})
