"""What keeps a deterministic class from moving, in the collections that have it."""

from collections.abc import Iterable, Mapping
from typing import Any

from bson.codec_options import CodecOptions

from sealwire.policies.file.schema import FieldClass, ValueType
from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.planning import unfit
from sealwire.sidecars.migration.windows.paths import ClassPaths

_DECODED = CodecOptions[dict[str, Any]]()
_SIMPLE = "simple"


def refuse_class_obstacles(
    client: Client, places: Iterable[ClassPaths], direction: Direction, field_class: FieldClass
) -> None:
    """See that a class can move in all its collections.

    Raises:  MigrationRefused OBSTACLE with the first one, and what the driver raises
    """
    for where in places:
        why = unfit(client, where.namespace)
        if not why and direction is not Direction.REENCRYPT and field_class.value_type is ValueType.STRING:
            why = _collated(client, where.namespace)
        if why:
            hint = "sealwire migrate plan shows every collection"
            raise MigrationRefused(MigrationReason.OBSTACLE, f"{where.namespace}: {why}", hint)


def _collated(client: Client, namespace: str) -> str:
    """Envelopes are equal where their bytes are; strings in clear are where the collation says so."""
    database, _, name = namespace.partition(".")
    listed = client.get_database(database, _DECODED).list_collections(filter={"name": name})
    options: Mapping[str, Any] = next((each.get("options") or {} for each in listed), {})
    locale = (options.get("collation") or {}).get("locale", _SIMPLE)
    if locale == _SIMPLE:
        return ""
    return f"its default collation is {locale}: strings would be equal in clear that are not once encrypted"
