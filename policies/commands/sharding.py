"""Commands that choose by which fields a collection is split among shards.

A shard key on a deterministic class sends a document where its ciphertext lies. Equal values have one
ciphertext, so a query by equality finds the shard, under a hashed key and under a ranged one. The order of
ciphertext says nothing of values: zones and split points are refused. A random class has no equality.
"""

from collections.abc import Callable

from sealwire.policies.commands.command import GENERIC, Argument, Command, apply_arguments, plain_arguments
from sealwire.policies.commands.command import collation as plan_collation
from sealwire.policies.commands.definitions import check_unique, indexed_field
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import document_of, given, operator_name
from sealwire.policies.planning.numbers import is_given
from sealwire.policies.planning.rules import Rule, family, passed
from sealwire.policies.planning.values import note_comparison
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def _shard(command: Command, walk: Walk) -> None:
    """The fields of the key are told apart by equality, so each demands what an index on it does.

    Raises Refusal(INDEX, SHAPE, ROLE, CONTEXT, COLLATION).
    """
    command.refuse_sequences()
    apply_arguments(walk, command.arguments, {command.name: _named, **_ARGUMENTS})
    key = given(command.arguments, b"key")
    if key is None:
        return
    covered: PathNode | None = None
    start = document_of(key, key)
    for field in elements(walk.buf, start):
        here = indexed_field(walk, field, None)
        if here is not None:
            note_comparison(walk.draft, here)
            covered = here
    if covered is not None and is_given(walk.buf, command.arguments.get(b"unique")):
        check_unique(walk.buf, start, walk.node)
    walk.draft.check_collation("" if covered is None else covered.path)


def _named(walk: Walk, argument: Element) -> None:
    """The collection's name, which the planner has read."""
    del walk, argument


def _value(walk: Walk, argument: Element) -> None:
    """Anything but a document or list, in which bounds in the order of values might stand."""
    if argument.kind in (kinds.OBJECT, kinds.ARRAY):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule=operator_name(argument))


_ARGUMENTS: dict[bytes, Argument] = {
    **GENERIC,
    **plain_arguments("key"),
    b"collation": plan_collation,
    **dict.fromkeys(
        b"""unique numInitialChunks presplitHashedZones enforceUniquenessCheck implicitlyCreateIndex dataShard
        isFromCreateUnsplittableCollection unsplittable registerExistingShardKeyIndex force
        reshardingUUID forceRedistribution performVerification provenance relaxed
        demoMode reshardingMinimumOperationDurationMillis
        sampleSize sampleRate keyCharacteristics readWriteDistribution""".split(),
        _value,
    ),
}

SHARDING_COMMANDS: dict[bytes, Rule[Callable[[Command, Walk], None]]] = family(
    "shardCollection shardcollection reshardCollection refineCollectionShardKey analyzeShardKey",
    passed(_shard, "hashed or ranged by ciphertext; no random class, no zones, no split points"),
)
"""Commands with a shard key."""
