"""What a command reaches beside the collection that its first argument names."""

from sealwire.policies.commands.command import Command
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import first_name, operator_name, readable, string_of
from sealwire.policies.planning.namespaces import foreign_namespaces
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
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None or pipeline.kind != kinds.ARRAY:
        return b""
    stage = next(elements(command.buf, pipeline.value), None)
    if stage is None or stage.kind != kinds.OBJECT:
        return b""
    return first_name(command.buf, stage.value)


_READS = frozenset(b"find aggregate count distinct listIndexes collStats collstats getMore explain".split())


def refuse_view_catalog(command: Command, collection: str) -> None:
    """A view is a document in `system.views`: written there, it could be one on a protected collection."""
    if command.name not in _READS:
        refuse_writing_views(command, command.namespace(collection))


def refuse_writing_views(command: Command, namespace: str) -> None:
    """The same for a namespace that is written to. Raises Refusal."""
    database, _, collection = namespace.partition(".")
    if collection == "system.views" and command.policies.protects_database(database):
        raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule=command.draft.command)
