"""What a job would move, what stands in its way, and the job that is made of it."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from pymongo.errors import OperationFailure

from sealwire.policies.file.schema import BESIDE, PolicySet, is_transparent
from sealwire.sidecars.covered import CoveredCollection
from sealwire.sidecars.direct import DECODED, Client, collection_of, identity_of, listing_of
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Stretch, new_job
from sealwire.sidecars.migration.moves import DETERMINISTIC, Direction, Move, class_at, moves_of, touches

RIGHTS = (
    "log in as a user with readWrite on the collections and on the database `sealwire`, "
    "and listDatabases for patterns"
)
"""The hint where the server denies something."""

_STRETCHES_A_WORKER = 4
"""More than one: ranges of a sample are of unequal size, and no worker is to wait long for the last."""
_SAMPLED_A_STRETCH = 20
_SIMPLE = "simple"
"""The locale of a collation by which strings are equal where their bytes are."""


# Whether values at covered paths decide on which shard a document lies: then they cannot be moved.

_UNAUTHORIZED = 13


def split_by(client: Client, namespace: str, paths: Iterable[str]) -> str:
    """Why values at `paths` of a collection cannot change; empty where its shard key has none of them.

    Another form of a value is another value of the shard key, and would send the document elsewhere: mongos
    takes that only in an update with the whole old key, one document at a time.

    Raises:  what the driver raises; OperationFailure where a mongos denies reading its `config.collections`
    Cost:    one question; two before a mongos
    """
    if client.get_database("admin", DECODED).command("hello").get("msg") != "isdbgrid":
        return ""
    found = collection_of(client, "config.collections", DECODED).find_one({"_id": namespace}) or {}
    key = [] if found.get("dropped") is True else list(found.get("key") or {})
    for path in paths:
        if any(touches(path, field) for field in key):
            return f"its shard key has {path}: reshard the collection by another field first"
    return ""


def foreseen_split(client: Client, namespace: str, paths: Iterable[str]) -> str:
    """As `split_by`, for a plan: where this user may not ask a mongos, that is said. Raises as the driver."""
    try:
        return split_by(client, namespace, paths)
    except OperationFailure as failure:
        if failure.code != _UNAUTHORIZED:
            raise
    return "its shard key is not known: this user may not read config.collections"


def select(found: Iterable[CoveredCollection], namespace: str | None) -> list[CoveredCollection]:
    """The collections that a command is about. Raises Unusable NOT_COVERED where there is none."""
    chosen = [each for each in found if namespace in (None, each.namespace)]
    if not chosen:
        text = f"the policy does not cover {namespace}" if namespace else "the policy covers no collection"
        hint = "sealwire policy check lists what it covers"
        raise Unusable(MigrationReason.NOT_COVERED, text, hint)
    return chosen


def moves_for(
    policies: PolicySet,
    direction: Direction,
    chosen: Iterable[CoveredCollection],
    path: str | None = None,
    class_name: str | None = None,
) -> tuple[Move, ...]:
    """What to encrypt or re-encrypt of collections that exist.

    Raises:  Unusable NOT_COVERED, DETERMINISTIC where there is nothing else, NOTHING
    """
    names = [each.namespace for each in chosen if each.exists and each.kind != "view"]
    movable, refused = moves_of(policies, names, path, class_name)
    if movable:
        return tuple(movable)
    if refused:
        first = refused[0]
        text = f"{first.namespace} {first.path} cannot be moved: {DETERMINISTIC}"
        hint = f"sealwire migrate {direction.value} POLICY {first.class_name}"
        raise Unusable(MigrationReason.DETERMINISTIC, text, hint)
    what = path or class_name
    if what is not None and names:
        text = f"the policy covers no path {what} there" if path else f"no covered path has the class {what}"
        raise Unusable(MigrationReason.NOT_COVERED, text, "sealwire policy check lists them")
    raise Unusable(MigrationReason.NOTHING, f"no collection exists that has anything to {direction.value}")


def move_back(policies: PolicySet, namespace: str, path: str) -> Move:
    """What to decrypt. Raises Unusable STILL_COVERED; NOT_COVERED where it is no path of a policy."""
    if any(not part or is_transparent(part.encode()) for part in path.split(".")):
        text = f"{path} is no path as a policy has it"
        hint = "leave positions in arrays out: items.secret means that of every item"
        raise Unusable(MigrationReason.NOT_COVERED, text, hint)
    if class_at(policies, namespace, path) is not None:
        text = f"the policy still covers {namespace} {path}: new values would go on being encrypted"
        hint = "take the path out of the policy and reload every Sealwire first"
        raise Unusable(MigrationReason.STILL_COVERED, text, hint)
    return Move(namespace, path, "")


def refuse_obstacles(client: Client, moves: Iterable[Move], fields: Mapping[str, bytes]) -> None:
    """See that the collections can be worked on; `fields` as `contexts.fields_of` gives them.

    An element is known by its array, which the server compares: under a collation others are equal to it.
    Raises Unusable OBSTACLE with the first.
    """
    moves = tuple(moves)
    beside = {move.namespace for move in moves if fields.get(move.class_name, b"").startswith(BESIDE)}
    for namespace in dict.fromkeys(move.namespace for move in moves):
        paths = [each.path for each in moves if each.namespace == namespace]
        refuse_obstacle(client, namespace, paths, compares=namespace in beside)


def refuse_obstacle(client: Client, namespace: str, paths: Iterable[str], *, compares: bool) -> None:
    """The same of one collection; `compares`: strings of it have to be equal by their bytes."""
    why = unfit(client, namespace) or (collated(client, namespace) if compares else "")
    why = why or split_by(client, namespace, paths)
    if why:
        hint = "sealwire migrate plan shows every collection"
        raise Unusable(MigrationReason.OBSTACLE, f"{namespace}: {why}", hint)


def unfit(client: Client, namespace: str) -> str:
    """Why no document of the collection can be changed one by one; empty where it can."""
    found = listing_of(client, namespace)
    if found is None:
        return "does not exist"
    kind = found.get("type", "collection")
    if kind != "collection":
        return f"is a {kind}, whose documents cannot be updated"
    options = found.get("options") or {}
    if options.get("capped"):
        return "is capped: its documents may not grow"
    if options.get("clusteredIndex"):
        return "is clustered, which is not supported yet"
    return ""


def collated(client: Client, namespace: str) -> str:
    """Why strings of a collection do not compare as envelopes do, by their bytes; empty where they do."""
    options = (listing_of(client, namespace) or {}).get("options") or {}
    locale = (options.get("collation") or {}).get("locale", _SIMPLE)
    if locale == _SIMPLE:
        return ""
    return f"its default collation is {locale}: strings would be equal in clear that are not once encrypted"


def make_job(
    client: Client, direction: Direction, moves: tuple[Move, ...], wrong_type: WrongType, workers: int
) -> Job:
    """A new job, not written down yet. Raises what the driver raises."""
    namespaces = list(dict.fromkeys(move.namespace for move in moves))
    stretches: list[Stretch] = []
    expected = 0
    for namespace in namespaces:
        expected += collection_of(client, namespace).estimated_document_count()
        stretches += _stretches(client, namespace, workers)
    return new_job(direction, wrong_type, moves, stretches, expected)


def _stretches(client: Client, namespace: str, workers: int) -> list[Stretch]:
    """Ranges of `_id` of about equal size, in order: together they hold every document, new ones too."""
    if workers == 1:
        return [Stretch(namespace)]
    wanted = workers * _STRETCHES_A_WORKER
    pipeline: list[Mapping[str, Any]] = [
        {"$sample": {"size": wanted * _SAMPLED_A_STRETCH}},
        {"$project": {"_id": 1}},
        {"$sort": {"_id": 1}},
    ]
    with collection_of(client, namespace).aggregate(pipeline) as cursor:
        sampled = list(dict.fromkeys(identity_of(bytes(found.raw)) for found in cursor))
    step = max(1, len(sampled) // wanted)
    bounds = [b"", *sampled[step::step], b""]
    return [Stretch(namespace, start, end) for start, end in pairwise(bounds)]
