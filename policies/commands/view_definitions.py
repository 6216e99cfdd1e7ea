"""Commands that make views: the pipeline is covered like any over what the view reads."""

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.commands.command import Command, collation
from sealwire.policies.commands.reach import name_in, protected_in_pipeline
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import given, readable
from sealwire.policies.planning.trees import OPAQUE
from sealwire.wire.raw_bson import Element


def define_view(command: Command) -> None:
    """`create` and `collMod` of a view. What touches nothing protected passes. Raises Refusal, BsonError."""
    viewed, pipeline = given(command.arguments, b"viewOn"), given(command.arguments, b"pipeline")
    if viewed is None and pipeline is None:
        return
    target = name_in(command, command.arguments[command.name])
    if target is None:
        return
    _refuse_known_name(command, command.namespace(target))
    if not command.policies.protects_database(command.database):
        node = NOTHING
    elif viewed is None:
        node = OPAQUE  # the view goes on reading what it reads now, and that may be protected
    else:
        on = name_in(command, viewed)
        node = NOTHING if on is None else command.reached(command.namespace(on)) or NOTHING
    if pipeline is None:
        _keep_pipeline(command, node)
    elif node.covers or protected_in_pipeline(command) is not None:
        _plan(command, pipeline, node)


def _refuse_known_name(command: Command, namespace: str) -> None:
    """What the policy says of a name is said of a collection, and nobody asks the server. Raises Refusal."""
    policies = command.policies
    if policies.covered(namespace) is None:
        database = namespace.partition(".")[0]
        if not policies.is_plain(namespace) or not policies.protects_database(database):
            return
    raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule="a view")


def _keep_pipeline(command: Command, node: PathNode) -> None:
    """`create` without a pipeline shows all that is read. `collMod` keeps the pipeline that is there.

    Its constants may be in clear, as they were for what the view read before. Raises Refusal(SHAPE).
    """
    if not node.covers:
        return
    if command.name == b"collMod":
        raise Refusal(Reason.SHAPE, path=node.path, rule="viewOn without a pipeline")
    command.draft.reach()
    _check_collation(command, node)


def _plan(command: Command, pipeline: Element, node: PathNode) -> None:
    command.draft.reach()
    plan_pipeline(command.over(node).reading(command.surroundings), pipeline)
    _check_collation(command, node)


def _check_collation(command: Command, node: PathNode) -> None:
    own_collation = given(command.arguments, b"collation")
    if own_collation is not None:
        collation(command.over(node), own_collation)
        command.draft.compares = True  # every later comparison would be under it
    command.draft.check_collation(node.path)
