"""Validators of `sealwire policy enforce`: with them a server rejects what a job that decrypts would write.

Two sidecars meet here, and neither knows the other. Found in the middle of a job, the rejection would leave a
window open, whose values the application has to wait for until somebody resumes the job.
"""

from collections.abc import Iterable

from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.covered import validation_of
from sealwire.sidecars.direct import Client
from sealwire.sidecars.enforcement.validators import Enforced, enforced
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
    """See that the server takes plaintext where a job is to write it. Cost: one question a collection.

    is_covered: whether the policy covers the paths that are to be decrypted; then no validator may stand that
    fits the policy, and else only such a one.
    Raises:  MigrationRefused OBSTACLE, and what the driver raises
    """
    if direction is not Direction.DECRYPT:
        return
    fits = Enforced.NOT if is_covered else Enforced.AS_POLICY
    for namespace in dict.fromkeys(namespaces):
        found = enforced(validation_of(client, namespace), policies.covered(namespace))
        if found not in (Enforced.NOT, fits):
            raise MigrationRefused(
                MigrationReason.OBSTACLE,
                f"{namespace}: its validator rejects plaintext (sealwire policy enforce)",
                "take it away first: sealwire policy enforce POLICY --remove; enforce the rest afterwards",
            )
