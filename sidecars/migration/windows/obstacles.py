"""What keeps a deterministic class from moving, in the collections that have it."""

from collections.abc import Iterable

from sealwire.policies.file.schema import FieldClass, ValueType
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.planning import collated, unfit
from sealwire.sidecars.migration.shard_keys import split_by
from sealwire.sidecars.migration.windows.paths import ClassPaths


def refuse_class_obstacles(
    client: Client, places: Iterable[ClassPaths], direction: Direction, field_class: FieldClass
) -> None:
    """See that a class can move in all its collections.

    Raises:  MigrationRefused OBSTACLE with the first one, and what the driver raises
    """
    for where in places:
        why = unfit(client, where.namespace)
        has_strings = field_class.value_type is ValueType.STRING or field_class.per is not None
        if not why and direction in (Direction.ENCRYPT, Direction.DECRYPT) and has_strings:
            why = collated(client, where.namespace)
        why = why or split_by(client, where.namespace, where.paths)
        if why:
            hint = "sealwire migrate plan shows every collection"
            raise MigrationRefused(MigrationReason.OBSTACLE, f"{where.namespace}: {why}", hint)
