"""The collections of a server that the policy covers, as they are now."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sealwire.policies.file.schema import PathNode, PolicySet
from sealwire.sidecars.direct import RAW, Client, listing_of


@dataclass(frozen=True, slots=True)
class Validation:
    """How a collection validates its documents; what is None was never set."""

    validator: Mapping[str, Any] | None = None
    level: str | None = None
    action: str | None = None


_NO_VALIDATION = Validation()


@dataclass(frozen=True, slots=True)
class CoveredCollection:
    """A collection that the policy covers."""

    namespace: str
    tree: PathNode
    exists: bool
    kind: str = "collection"
    """What the server calls it: `collection`, `view` or `timeseries`."""
    validation: Validation = _NO_VALIDATION


def covered_collections(client: Client, policies: PolicySet) -> list[CoveredCollection]:
    """Every collection that the policy covers, by name; those it names that do not exist included.

    Raises OperationFailure where the user may not list databases (patterns only) or collections.
    """
    found = {}
    for database in sorted(_databases(client, policies)):
        for raw in client.get_database(database, RAW).list_collections():
            collection = _covered(database, raw, policies)
            if collection is not None:
                found[collection.namespace] = collection
    for namespace, tree in policies.collections.items():
        found.setdefault(namespace, CoveredCollection(namespace, tree, exists=False))
    return sorted(found.values(), key=lambda collection: collection.namespace)


def stored_collections(client: Client, policies: PolicySet) -> list[CoveredCollection]:
    """Those that exist and are no views. Raises as `covered_collections`."""
    return [each for each in covered_collections(client, policies) if each.exists and each.kind != "view"]


def _databases(client: Client, policies: PolicySet) -> set[str]:
    names = {namespace.partition(".")[0] for namespace in policies.collections}
    patterns = {pattern.partition(".")[0] for pattern, _ in policies.patterns}
    if any("*" in pattern for pattern in patterns):
        for database in client.list_database_names():
            if any(fnmatchcase(database, pattern) for pattern in patterns):
                names.add(database)
    return names | {pattern for pattern in patterns if "*" not in pattern}


def _covered(database: str, raw: Mapping[str, Any], policies: PolicySet) -> CoveredCollection | None:
    namespace = f"{database}.{raw['name']}"
    tree = policies.covered(namespace)
    if tree is None:
        return None
    return CoveredCollection(namespace, tree, True, raw.get("type", "collection"), _validation(raw))


def validation_of(client: Client, namespace: str) -> Validation:
    """How a collection validates its documents; nothing of one that does not exist.

    Raises what the driver raises.
    """
    return _validation(listing_of(client, namespace) or {})


def _validation(raw: Mapping[str, Any]) -> Validation:
    options = raw.get("options") or {}
    return Validation(
        options.get("validator") or None, options.get("validationLevel"), options.get("validationAction")
    )
