"""Change streams over a database or the whole cluster: whose documents the events hold."""

from sealwire.policies.commands.command import Command
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet
from sealwire.policies.planning.arguments import array_items, named_parts, string_of
from sealwire.policies.planning.trees import either
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def watched(command: Command) -> PathNode | None:
    """The covered paths of the documents in the events; None when the pipeline is no change stream.

    Events of any collection can come, protected ones and others: what is covered in any of them can be
    forwarded, and nothing else. But a `$match` right behind that lets through one collection's only makes it
    like a stream on that one. Cost: O(paths of the protected collections in reach).
    """
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None or pipeline.kind != kinds.ARRAY:
        return None
    stages = [_stage(command.buf, item) for item in array_items(command.buf, pipeline)[:2]]
    if not stages or stages[0] is None or stages[0].name != b"$changeStream":
        return None
    stream, policies = stages[0], command.policies
    cluster = stream.kind == kinds.OBJECT and b"allChangesForCluster" in named_parts(
        command.buf, stream.value
    )
    if not (policies.protects_anything if cluster else policies.protects_database(command.database)):
        return NOTHING
    chosen = stages[1] if len(stages) == 2 else None
    # under a collation, a name would match others as well
    if chosen is not None and b"collation" not in command.arguments:
        namespace = _chosen(command.buf, chosen, None if cluster else command.database)
        if namespace is not None:
            return policies.covered(namespace) or NOTHING
    return _of_any(policies, None if cluster else command.database)


def _of_any(policies: PolicySet, database: str | None) -> PathNode:
    """The tree of a document of any collection of a database, or of the cluster."""
    documents = NOTHING
    for node in policies.in_reach(database):
        documents = either(documents, node)
    return documents


def _stage(buf: bytes, item: Element) -> Element | None:
    if item.kind != kinds.OBJECT:
        return None
    return next(elements(buf, item.value), None)


def _chosen(buf: bytes, stage: Element, database: str | None) -> str | None:
    """The one namespace whose events a `$match` lets through: by `ns`, or by `ns.db` and `ns.coll`."""
    if stage.name != b"$match" or stage.kind != kinds.OBJECT:
        return None
    parts = named_parts(buf, stage.value)
    whole = parts.get(b"ns")
    if whole is not None and whole.kind == kinds.OBJECT:
        names = named_parts(buf, whole.value)
        if list(names) != [b"db", b"coll"]:
            return None
        chosen = [names[b"db"], names[b"coll"]]
    else:
        chosen = [parts[name] for name in (b"ns.db", b"ns.coll") if name in parts]
    if not chosen or any(part.kind != kinds.STRING for part in chosen):
        return None
    texts = [string_of(buf, part) for part in chosen]
    if len(texts) == 1:
        if database is None or b"ns.coll" not in parts:
            return None
        texts.insert(0, database)
    return ".".join(texts)
