"""One command in, one plan out, or a refusal: the entry of this room.

First what holds for any command, then by the namespace it names: not protected, it passes untouched;
protected, its handler covers it or refuses; with no handler it is administration or refused.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.administration import (
    ADMINISTRATION,
    NAMES_NO_COLLECTION,
    check_any_namespace,
    protected_in_pipeline,
    refuse_view_catalog,
    rename_collection,
)
from sealwire.policies.arguments import Parents, document_of, named_parts, printable, readable, string_of
from sealwire.policies.bulk_writes import bulk_write
from sealwire.policies.change_streams import watched
from sealwire.policies.command import Command, DocumentSequence
from sealwire.policies.commands import DATA_COMMANDS, SEQUENCES, aggregate, collection_of
from sealwire.policies.definitions import DEFINITION_COMMANDS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan, Settler
from sealwire.policies.rules import Rule, encrypted, passed
from sealwire.policies.schema import NOTHING, PathNode, PolicySet
from sealwire.wire import kinds

_NUMBERS: Final = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})

COMMANDS: Final = DATA_COMMANDS | DEFINITION_COMMANDS | ADMINISTRATION
"""Those that may name a protected collection; any other that does is refused."""

WHOLE_NAMES: Final[dict[bytes, Rule[Callable[[Command], None]]]] = {
    b"bulkWrite": encrypted(bulk_write, "each operation for its collection"),
    b"renameCollection": passed(rename_collection, "between the same classes at the same paths"),
}
"""Commands that name their collections in full; they run on the admin database."""

_READING: Final = frozenset(DATA_COMMANDS) - {b"insert"}
"""Those that compare stored values, or show them: so they may be given a view's name."""

KNOWN_COMMANDS: Final = frozenset(COMMANDS) | frozenset(WHOLE_NAMES)
"""Commands whose names, and what their first arguments name, are safe in logs and metrics."""

_TEXTS: Final = {name: name.decode() for name in KNOWN_COMMANDS}


def plan_command(  # noqa: PLR0913, PLR0917 - where the command lies, and what there is to know
    policies: PolicySet,
    buf: bytes,
    body: int,
    parents: Parents = (),
    sequences: tuple[DocumentSequence, ...] = (),
    covered: Callable[[str], PathNode | None] | None = None,
    settler: Settler | None = None,
) -> Plan:
    """Decide what must happen to the command whose document lies at `body` in `buf`.

    `parents` are the offsets of the lengths above the body (0 for a message's own). The plan's edits are
    empty when the command may pass as it is. `covered` knows views as well (`ViewCatalog.covered`); without
    it, what is no protected collection is read as it is. `settler` is given the edits of documents whenever
    they are many. Raises Refusal, BsonError, and what these two raise. Cost: O(elements walked).
    """
    plan = Plan(buf, settler)
    arguments = named_parts(plan, body)
    database = arguments.get(b"$db")
    if not arguments or database is None or database.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="a command without $db")
    command = Command(
        plan,
        policies,
        covered or policies.covered,
        string_of(plan, database),
        body,
        (*parents, body),
        arguments,
        sequences,
    )
    plan.command = _TEXTS.get(command.name) or printable(command.name)
    _dispatch(command)
    return plan


def _dispatch(command: Command) -> None:
    plan = command.plan
    if command.name == b"explain":
        _explain(command)
        return
    check_any_namespace(command)
    whole = WHOLE_NAMES.get(command.name)
    if whole is not None:
        whole.handler(command)
        return
    collection = None if command.name in NAMES_NO_COLLECTION else collection_of(command)
    if collection is None:
        _without_collection(command)
        return
    namespace = command.namespace(collection)
    plan.namespace = readable(namespace)
    # a view's name may match a pattern of the policy as well
    known = command.covered if command.name in _READING else command.policies.covered
    node = known(namespace)
    if node is None and command.name == b"aggregate" and protected_in_pipeline(command) is not None:
        node = NOTHING
    if node is None:
        refuse_view_catalog(command, collection)
        # sharding and a few other commands name the whole namespace
        if command.policies.covered(collection) is not None:
            _administer_only(command, readable(collection))
        return
    plan.reach()
    rule = COMMANDS.get(command.name)
    if rule is None:
        raise Refusal(Reason.COMMAND, path=plan.namespace, rule=plan.command)
    _check_sequences(command)
    rule.handler(command, node)
    command.settle_collation(node.path)


def _administer_only(command: Command, namespace: str) -> None:
    rule = ADMINISTRATION.get(command.name)
    command.plan.reveals = True
    if rule is None:
        raise Refusal(Reason.COMMAND, path=namespace, rule=command.plan.command)
    rule.handler(command, NOTHING)


def _explain(command: Command) -> None:
    """The command inside is planned like any other; its database is the outer one."""
    inner = command.arguments[b"explain"]
    start = document_of(inner, inner)
    arguments = named_parts(command.plan, start)
    if not arguments or b"explain" in arguments or command.sequences:
        raise Refusal(Reason.SHAPE, rule="explain")
    database = arguments.get(b"$db")
    if database is not None and (
        database.kind != kinds.STRING or string_of(command.plan, database) != command.database
    ):
        raise Refusal(Reason.SHAPE, rule="explain of another database")
    nested = Command(
        command.plan,
        command.policies,
        command.covered,
        command.database,
        start,
        (*command.parents, start),
        arguments,
    )
    _dispatch(nested)
    command.plan.command = f"explain {printable(nested.name)}"


def _without_collection(command: Command) -> None:
    """A command on a database or the server. A change stream over them reads protected documents too."""
    target = command.arguments[command.name]
    if command.name in KNOWN_COMMANDS and not (command.name == b"aggregate" and target.kind in _NUMBERS):
        # a collection named by its UUID would slip past a policy that knows names
        raise Refusal(Reason.SHAPE, rule=f"{printable(command.name)} without a collection's name")
    if command.name == b"listCollections":
        # validators and the pipelines of views hold constants that were encrypted on their way in
        command.plan.reveals = command.policies.protects_database(command.database)
    if command.name != b"aggregate":
        return
    node = watched(command)
    if node is None and protected_in_pipeline(command) is not None:
        command.plan.reach()
        node = NOTHING
    if node is not None:
        if node.covers:
            command.plan.reach()
        aggregate(command, node)


def _check_sequences(command: Command) -> None:
    for sequence in command.sequences:
        if SEQUENCES.get(command.name) != sequence.identifier:
            raise Refusal(Reason.SHAPE, rule="this document sequence")
        if sequence.identifier in command.arguments:
            raise Refusal(Reason.SHAPE, rule="an argument given twice")
