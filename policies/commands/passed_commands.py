"""Commands that are known to carry no value of a stored document: they pass unread, or nearly so.

Any other command that names no collection is refused while the policy protects anything: the next release of
a server may bring one that reads and writes documents by another way than the known ones.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.aggregation.server_stages import CURRENT_OP, PROFILE, showing
from sealwire.policies.commands.command import GENERIC, Command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, follow
from sealwire.policies.filters.filters import plan_filter, unlisted_operator
from sealwire.policies.filters.operands import BRANCHES
from sealwire.policies.planning import arguments
from sealwire.policies.planning.rules import Act, Rule, acts, family, passed
from sealwire.policies.planning.trees import OPAQUE
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

Handler = Callable[[Command], None]


def _unread(command: Command) -> None:
    """Nothing in it is a document of a collection, or is compared with one."""


_FLAGS: Final = frozenset({b"currentOp", b"$all", b"$ownOps", b"$truncateOps", *GENERIC})


def _log(command: Command) -> None:
    """The server's log has slow commands of everybody."""
    command.draft.others = True


def _current_op(command: Command) -> None:
    """Its other arguments are a filter on what everybody's commands say. Raises Refusal."""
    command.draft.others = True
    for name, argument in command.arguments.items():
        if name in _FLAGS:
            continue
        if name in BRANCHES:
            for branch in arguments.array_items(command.buf, argument):
                plan_filter(command.over(CURRENT_OP), arguments.document_of(branch, argument))
        elif name.startswith(b"$"):
            raise unlisted_operator(argument)
        elif follow(CURRENT_OP, name) is not None:
            # without its path: that is the client's own word, and paths are on record and counted
            raise Refusal(Reason.COMPUTE, rule="currentOp")
        else:
            arguments.check_nested(command.buf, argument)


def _filtered(command: Command, given: dict[bytes, Element], node: PathNode) -> None:
    """`filter` is one of documents with the covered paths `node`; what is no document is no filter."""
    argument = given.get(b"filter")
    if argument is not None and argument.kind == kinds.OBJECT:
        plan_filter(command.over(node), argument.value)


def _parts(command: Command, argument: Element | None) -> dict[bytes, Element]:
    """The parts of an argument that is a document; none of any other."""
    if argument is None or argument.kind != kinds.OBJECT:
        return {}
    return arguments.named_parts(command.buf, argument.value)


def _profile(command: Command) -> None:
    """What the profiler is to write down may be told by a filter."""
    _filtered(command, command.arguments, PROFILE)


_AUDIT: Final = showing("atype ts uuid local remote users roles result")


def _audit(command: Command) -> None:
    """What is to be audited may be told by a filter on the arguments of everybody's commands."""
    _filtered(command, command.arguments, _AUDIT)
    _filtered(command, _parts(command, command.arguments[command.name]), _AUDIT)


def _cluster_parameter(command: Command) -> None:
    """Two of the parameters have commands of their own, and are judged here as there. Raises Refusal."""
    parameters = _parts(command, command.arguments[command.name])
    if b"querySettings" in parameters:
        raise Refusal(Reason.COMMAND, rule="querySettings")
    _filtered(command, _parts(command, parameters.get(b"auditConfig")), _AUDIT)


_COLLECTIONS: Final = PathNode("", {b"options": PathNode("", {b"validator": OPAQUE, b"pipeline": OPAQUE})})


def _list_collections(command: Command) -> None:
    """Validators and the pipelines of views hold constants that were encrypted on their way in."""
    if not command.policies.protects_database(command.database):
        return
    _filtered(command, command.arguments, _COLLECTIONS)
    command.draft.reveals = True


PASSED_COMMANDS: Final[dict[bytes, Rule[Handler]]] = {
    **family(
        """hello isMaster ismaster saslStart saslContinue authenticate logout getnonce
        startSession refreshSessions endSessions killSessions killAllSessions killAllSessionsByPattern
        abortTransaction commitTransaction getMore killOp
        ping buildInfo buildinfo whatsmyuri connectionStatus hostInfo hostinfo getCmdLineOpts
        listCommands listDatabases features getLastError getlasterror getPrevError getpreverror
        resetError reseterror forceerror availableQueryOptions validateDBMetadata
        serverStatus top dbStats dbstats dbHash dbhash connPoolStats connPoolSync shardConnPoolStats lockInfo
        netstat getDiagnosticData driverOIDCTest oidcListKeys oidcRefreshKeys
        atlasVersion atlasHello getFreeMonitoringStatus setFreeMonitoring
        getParameter getClusterParameter getDefaultRWConcern getAuditConfig
        dropConnections fsync fsyncUnlock autoCompact usersInfo rolesInfo invalidateUserCache
        replSetAbortPrimaryCatchUp replSetFreeze replSetGetConfig replSetGetRBID replSetGetStatus
        replSetMaintenance replSetStepDown replSetStepUp replSetSyncFrom
        balancerStart balancerStatus balancerStop getShardMap isdbgrid isdbGrid listShards listshards
        shardingState""",
        passed(_unread),
    ),
    **acts(Act.DESTRUCTION, family("dropDatabase", passed(_unread))),
    **acts(
        Act.ADMINISTRATION,
        family(
            """createUser updateUser dropUser dropAllUsersFromDatabase grantRolesToUser
            revokeRolesFromUser createRole updateRole dropRole dropAllRolesFromDatabase grantRolesToRole
            revokeRolesFromRole grantPrivilegesToRole revokePrivilegesFromRole _mergeAuthzCollections

            setParameter setDefaultRWConcern setFeatureCompatibilityVersion setUserWriteBlockMode
            logRotate rotateCertificates shutdown
            replSetInitiate replSetReconfig replSetResizeOplog
            addShard addshard addShardToZone enableSharding enablesharding movePrimary moveprimary removeShard
            removeshard removeShardFromZone startShardDraining stopShardDraining commitShardRemoval
            transitionFromDedicatedConfigServer transitionToDedicatedConfigServer""",
            passed(_unread),
        ),
    ),
    b"getLog": passed(_log),
    b"currentOp": passed(_current_op, "by what holds no value of anybody's command"),
    **acts(
        Act.ADMINISTRATION,
        {
            **family(
                "profile setProfilingFilterGlobally",
                passed(_profile, "`filter` by what holds no value of a command"),
            ),
            b"setAuditConfig": passed(_audit, "`filter` by what holds no value of a command"),
            b"setClusterParameter": passed(_cluster_parameter, "other than `querySettings`"),
        },
    ),
    b"listCollections": passed(_list_collections, "`filter` by no constant of a validator or view"),
}
"""None of them names a collection in its first argument, whatever stands there."""
