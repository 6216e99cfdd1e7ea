"""Commands past the collections of the policy: what the server owns, and commands that nobody knows.

What holds commands or documents of anybody holds covered values too; and a command that the planner does not
know may do anything with what it is given.
"""

from typing import Any, Final

from tests.policies.taint.copies import event_ground
from tests.policies.taint.drawer import Drawer
from tests.policies.taint.expressions import tainted
from tests.policies.taint.filters import condition, tainted_filter
from tests.policies.taint.stages import tainted_pipeline
from tests.policies.taint.updates import stored
from tests.policies.taint.values import Document
from tests.policies.taint.world import PROTECTED

_OWNED: Final = (
    *(("local", "oplog.rs", "o"), ("local", "oplog.rs", "o2"), ("local", "oplog.rs", "o.diff.u")),
    *(("clinic", "system.profile", "command.filter"), ("clinic", "system.profile", "command.q")),
    *(("clinic", "system.buckets.patients", "data"), ("clinic", "system.buckets.patients", "control.min")),
    ("config", "system.preimages", "preImage"),
)
"""Database, collection, and where it may have values of a covered path."""
SHOWING: Final = (
    *("$currentOp", "$listSessions", "$listLocalSessions", "$queryStats", "$listSampledQueries"),
    *("$querySettings", "$planCacheStats"),
)
_UNKNOWN: Final = (
    *("unheardOf", "clusterAggregate", "clusterBulkWrite", "clusterFind", "clusterUpdate", "clusterInsert"),
    *(
        "_clusterQueryWithoutShardKey",
        "_clusterWriteWithoutShardKey",
        "testInternalTransactions",
        "godinsert",
    ),
    *("internalUnheard", "_shardsvrUnheard", "processInternal", "bulkwrite", "Find", "FIND"),
)


def server_owned(d: Drawer) -> Document:
    """A filter for a covered value on what the server keeps of everybody's commands and documents."""
    database, collection, place = d.pick(_OWNED)
    with d.on(PROTECTED["patients"]):
        query: Document = {f"{place}.{d.path()}": condition(d, 1)}
    name = d.pick(("find", "count", "aggregate", "distinct"))
    if name == "aggregate":
        return {name: collection, "pipeline": [{"$match": query}], "cursor": {}, "$db": database}
    argument = "filter" if name == "find" else "query"
    key: Document = {"key": "x"} if name == "distinct" else {}
    return {name: collection, argument: query, **key, "$db": database}


def showing(d: Drawer) -> Document:
    """A stage that shows commands of everybody, and a look for a covered value in them."""
    with d.on(PROTECTED["patients"]):
        query: Document = {
            f"{d.pick(('command.filter', 'command.q', 'key.query'))}.{d.path()}": condition(d, 1)
        }
    name = d.pick(SHOWING)
    target: Any = "patients" if name in ("$planCacheStats", "$listSampledQueries") else 1
    database = "clinic" if target == "patients" else "admin"
    return {"aggregate": target, "pipeline": [{name: {}}, {"$match": query}], "cursor": {}, "$db": database}


def watching(d: Drawer) -> Document:
    """A change stream on a collection, a database or everything."""
    d.row("stage", "$changeStream")
    name = d.pick(tuple(PROTECTED))
    with d.on(event_ground(d, PROTECTED[name])):
        pipeline = tainted_pipeline(d, 1)
    share = d.random.random()
    if share < 0.6:
        return {"aggregate": name, "pipeline": [{"$changeStream": {}}, *pipeline], "cursor": {}}
    if share < 0.8:
        return {"aggregate": 1, "pipeline": [{"$changeStream": {}}, *pipeline], "cursor": {}}
    # other collections that it names would be those of the admin database
    with d.on(event_ground(d, PROTECTED[name])):
        look: Document = d.pick(({"$match": tainted_filter(d)}, {"$set": {"x": tainted(d)}}))
    stream = {"$changeStream": {"allChangesForCluster": True}}
    return {"aggregate": 1, "pipeline": [stream, look], "cursor": {}, "$db": "admin"}


def passing(d: Drawer) -> tuple[Document, Document]:
    """A command that carries no value of a document, given one all the same; and its document sequences."""
    name = d.row("passed")
    with d.on(PROTECTED["patients"]):
        path, found = d.path(), condition(d, 1)
        document = stored(d)
    query: Document = {f"{d.pick(('command.filter', 'command.q', 'param.args'))}.{path}": found}
    filtered: dict[str, Document] = {
        "currentOp": {name: 1, **d.pick((query, {"$or": [query]}, {"$and": [{"x": 1}, query]}))},
        **{key: {name: 1, "filter": query} for key in ("profile", "setProfilingFilterGlobally")},
        "setAuditConfig": {name: 1, "filter": query},
        "setClusterParameter": {name: {"auditConfig": {"filter": query}}},
        "listCollections": {name: 1, "filter": {f"options.validator.{path}": found}, "$db": "clinic"},
    }
    if name in filtered and d.chance(0.8):
        return {**filtered[name], "$db": filtered[name].get("$db", "admin")}, {}
    return {name: 1, "$db": "admin"}, {d.pick(("documents", "filter", "updates", "pipeline")): [document]}


def unknown(d: Drawer) -> Document:
    """A command that the planner does not know, with a covered value in it."""
    with d.on(PROTECTED["patients"]):
        query, document = {d.path(): d.marker()}, stored(d)
        pipeline = tainted_pipeline(d, 0)
    inner: Document = d.pick(
        (
            *(
                {"filter": query},
                {"query": query},
                {"q": query},
                {"documents": [document]},
                {"pipeline": pipeline},
            ),
            {"command": {"find": "patients", "filter": query}, "collection": "patients"},
            {"commandInfos": [{"dbName": "clinic", "command": {"find": "patients", "filter": query}}]},
            {"ops": [{"insert": 0, "document": document}], "nsInfo": [{"ns": "clinic.patients"}]},
        )
    )
    target: Any = d.pick((1, 1, "patients", "wards", "clinic.patients", True))
    return {d.pick(_UNKNOWN): target, **inner, "$db": d.pick(("clinic", "admin"))}
