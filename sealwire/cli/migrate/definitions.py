"""What `sealwire migrate` does to indexes, validators and views, and says of them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from sealwire.keys.errors import KeysError
from sealwire.keys.frontier.frontier import ClassVersion, pending_version_of, version_of
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import CoveredCollection, validation_of
from sealwire.sidecars.direct import Client
from sealwire.sidecars.enforcement.validators import Enforced, enforced, enforces_versions
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.definitions.constants import ClassChange, stand_in_version
from sealwire.sidecars.migration.definitions.conversions import Conversions, Judged, Judgement
from sealwire.sidecars.migration.definitions.server import MemoryRecords, MongoDefinitions, MongoRecords
from sealwire.sidecars.migration.ledger import any_active
from sealwire.sidecars.migration.moves import Direction, Move, trees_of
from sealwire.sidecars.migration.windows.order import ClassPaths

COLUMNS: Final = ("collection", "kind", "name", "paths", "encrypted it is", "look at")


# Validators of `sealwire policy enforce`: with them a server rejects what some jobs would write.
#
# Two sidecars meet here, and neither knows the other. Found in the middle of a job, the rejection would
# leave a window open, whose values the application has to wait for until somebody resumes the job.


def refuse_enforced(
    client: Client,
    policies: PolicySet,
    direction: Direction,
    namespaces: Iterable[str],
    *,
    is_covered: bool,
) -> None:
    """See that the server takes what a job is to write. Cost: one question a collection.

    is_covered: the job moves a deterministic class, all of whose paths the policy covers. Then no validator
    may insist on the active version, and if the job decrypts, none may reject plaintext. Else a job that
    decrypts is about paths that the policy covers no more, and a validator that fits the policy may stay.
    Raises:  Unusable OBSTACLE, and what the driver raises
    """
    decrypts = direction is Direction.DECRYPT
    fits = Enforced.NOT if is_covered else Enforced.AS_POLICY
    for namespace in dict.fromkeys(namespaces):
        now = validation_of(client, namespace)
        if decrypts and enforced(now, policies.covered(namespace)) not in (Enforced.NOT, fits):
            raise Unusable(
                MigrationReason.OBSTACLE,
                f"{namespace}: its validator rejects plaintext (sealwire policy enforce)",
                "take it away first: sealwire policy enforce POLICY --remove; enforce the rest afterwards",
            )
        if is_covered and direction is not Direction.REPAIR and enforces_versions(now):
            raise Unusable(
                MigrationReason.OBSTACLE,
                f"{namespace}: its validator rejects other versions (sealwire policy enforce --versions)",
                "sealwire policy enforce POLICY, without --versions, lets the others pass; "
                "give --versions again when the move is over",
            )


def conversions_of(
    client: Client, keyring: Keyring, direction: Direction, moves: Sequence[Move], accepted: Iterable[str]
) -> Conversions:
    """The definitions that a job of random classes touches. Raises UnknownKey without any active key."""
    change = ClassChange(direction is Direction.ENCRYPT, direction is Direction.DECRYPT, keyring)
    records = MongoRecords(client, keyring, _sealing(keyring, moves[0].class_name))
    return Conversions(MongoDefinitions(client), records, trees_of(moves), change, accepted)


def versions_to_judge(
    keyring: Keyring, class_name: str, direction: Direction
) -> tuple[ClassVersion, ClassVersion]:
    """The versions between which a class will move, before the new one is made. Raises UnknownKey."""
    old, new = version_of(keyring, class_name), pending_version_of(keyring, class_name)
    return old, new or stand_in_version(is_plaintext=direction is Direction.DECRYPT)


def class_conversions(
    client: Client,
    keyring: Keyring,
    places: Iterable[ClassPaths],
    versions: tuple[ClassVersion, ClassVersion],
    accepted: Iterable[str],
) -> Conversions:
    """Those that the move of a deterministic class touches, between two of its versions."""
    change = ClassChange.of_versions(keyring, *versions)
    records = MongoRecords(client, keyring, versions[1].cipher)
    moved = {each.namespace: each.tree for each in places}
    return Conversions(MongoDefinitions(client), records, moved, change, accepted)


def judged_for_plan(client: Client, chosen: Iterable[CoveredCollection]) -> list[Judged]:
    """What becomes of definitions where everything covered is encrypted; needs no key."""
    moved = {each.namespace: each.tree for each in chosen if each.exists and each.kind != "view"}
    return Conversions(MongoDefinitions(client), MemoryRecords(), moved, ClassChange.to_judge()).judged()


def what_to_look_at(judged: Iterable[Judged]) -> list[Judged]:
    """Those that a job refuses until they are dropped or accepted."""
    return [each for each in judged if each.judgement in (Judgement.LOST, Judgement.IN_THE_WAY)]


def tell_changed(names: Iterable[str]) -> None:
    """Say which definitions somebody changed while the job ran."""
    for name in names:
        click.echo(f"{name} was changed meanwhile, and stays as it is now: look at it", err=True)


def rows(judged: Iterable[Judged]) -> list[list[str]]:
    """Those of a table with COLUMNS: what programs get, with lists as lines."""
    found = [document_of_judged(each).values() for each in judged]
    return [["\n".join(each) if isinstance(each, list) else each for each in row] for row in found]


def document_of_judged(each: Judged) -> dict[str, Any]:
    """One for programs."""
    return {
        "namespace": each.namespace,
        "kind": each.kind.value,
        "name": each.name,
        "paths": list(each.paths),
        "judgement": each.judgement.word,
        "why": list(each.why),
    }


def _sealing(keyring: Keyring, class_name: str) -> Any:
    try:
        return keyring.cipher_for(class_name)
    except KeysError:
        # values go back to plaintext, and the policy names no class for them any more
        return any_active(keyring)
