"""What a command reaches beside the collection that its first argument names, or when it names none."""

from collections.abc import Iterator

from sealwire.policies.commands.command import Command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import named_parts, operator_name, readable, string_of
from sealwire.policies.planning.namespaces import foreign_namespaces
from sealwire.policies.planning.trees import either
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

# what no server takes for a name, it refuses
NO_NAME = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.BOOL, kinds.OBJECT})


def name_in(command: Command, argument: Element | None) -> str | None:
    """The name that an argument gives, None for no argument and for what cannot be a name.

    Raises Refusal(SHAPE) for what a lax server might take for one.
    """
    if argument is None or argument.kind == kinds.NULL or argument.kind in NO_NAME:
        return None
    if argument.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(argument))
    return string_of(command.buf, argument)


def protected_in_pipeline(command: Command) -> str | None:
    """The first protected collection that the command's pipeline reads or writes beside its own input."""
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None:
        return None
    return command.surroundings.protected_in(foreign_namespaces(command.draft, pipeline, command.database))


def first_stage(command: Command) -> bytes:
    """The name of the first stage of the command's pipeline; empty when there is none. Cost: O(1)."""
    stage = next(_stages(command), None)
    return b"" if stage is None else stage.name


def _stages(command: Command) -> Iterator[Element | None]:
    """The stages of the command's pipeline one by one; None for what is none."""
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is not None and pipeline.kind == kinds.ARRAY:
        for item in elements(command.buf, pipeline.value):
            yield next(elements(command.buf, item.value), None) if item.kind == kinds.OBJECT else None


_READS = frozenset(b"find aggregate count distinct listIndexes collStats collstats getMore explain".split())


def refuse_writing_views(command: Command, namespace: str) -> None:
    """A view is a document in `system.views`: written there, it could be one on a protected collection.

    Raises Refusal.
    """
    if command.name in _READS:
        return
    database, _, collection = namespace.partition(".")
    if collection == "system.views" and command.policies.protects_database(database):
        raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule=command.draft.command)


def watched(command: Command) -> PathNode | None:
    """The covered paths of the documents in the events; None when the pipeline is no change stream.

    Events of any collection can come, protected ones and others: what is covered in any of them can be
    forwarded, and nothing else. But a `$match` right behind that lets through one collection's only makes it
    like a stream on that one. Cost: O(paths of the protected collections in reach).
    """
    stages, policies = _stages(command), command.policies
    stream = next(stages, None)
    if stream is None or stream.name != b"$changeStream":
        return None
    cluster = stream.kind == kinds.OBJECT and b"allChangesForCluster" in named_parts(
        command.buf, stream.value
    )
    if not cluster and not policies.protects_database(command.database):
        return NOTHING
    chosen = next(stages, None)
    # under a collation, a name would match others as well
    if chosen is not None and b"collation" not in command.arguments:
        namespace = _chosen(command.buf, chosen, None if cluster else command.database)
        if namespace is not None:
            return policies.covered(namespace) or NOTHING
    found = NOTHING
    for tree in policies.in_reach(None if cluster else command.database):
        found = either(found, tree, command.draft.work)
    return found


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
