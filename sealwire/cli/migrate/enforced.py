"""Validators of `sealwire policy enforce`: with them a server rejects what some jobs would write.

Two sidecars meet here, and neither knows the other. Found in the middle of a job, the rejection would leave a
window open, whose values the application has to wait for until somebody resumes the job.
"""

from collections.abc import Iterable

from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import validation_of
from sealwire.sidecars.direct import Client
from sealwire.sidecars.enforcement.validators import Enforced, enforced, enforces_versions
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.moves import Direction


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
    Raises:  MigrationRefused OBSTACLE, and what the driver raises
    """
    decrypts = direction is Direction.DECRYPT
    fits = Enforced.NOT if is_covered else Enforced.AS_POLICY
    for namespace in dict.fromkeys(namespaces):
        now = validation_of(client, namespace)
        if decrypts and enforced(now, policies.covered(namespace)) not in (Enforced.NOT, fits):
            raise MigrationRefused(
                MigrationReason.OBSTACLE,
                f"{namespace}: its validator rejects plaintext (sealwire policy enforce)",
                "take it away first: sealwire policy enforce POLICY --remove; enforce the rest afterwards",
            )
        if is_covered and direction is not Direction.REPAIR and enforces_versions(now):
            raise MigrationRefused(
                MigrationReason.OBSTACLE,
                f"{namespace}: its validator rejects other versions (sealwire policy enforce --versions)",
                "sealwire policy enforce POLICY, without --versions, lets the others pass; "
                "give --versions again when the move is over",
            )
