"""A look for the values that need a key, before it is retired."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sealwire.cli.options.policies import read_policy
from sealwire.cli.options.server import required_uri
from sealwire.cli.output import document_count_bar, question_console, show_table
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected, size_of
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.job import MAX_REPORTED, LeftValue
from sealwire.sidecars.migration.windows.paths import class_paths
from sealwire.sidecars.migration.windows.server import MongoValues
from sealwire.sidecars.migration.windows.strays import needs_key
from sealwire.sidecars.migration.windows.unbegun import Standstill
from sealwire.sidecars.raw_documents import identity_of

_RIGHTS = "the user has to read the covered collections, and may read and write the database sealwire"


def require_no_value(key: DataKey, keyring: Keyring, policy: Path | None, uri: str) -> None:
    """See that no stored value of a deterministic class needs a key. A random class is not looked at.

    Raises:  KeySettingError POLICY where nobody says whether the class is deterministic
             MigrationRefused STILL_NEEDED, OTHER_MOVE; what the driver raises
    Cost:    reads every document of the covered collections
    """
    if policy is None:
        text = f"the policy says whether class {key.class_name} is deterministic, and none was given"
        hint = "give --policy; or --no-sweep, if the data of the class is gone"
        raise KeySettingError(KeysReason.POLICY, text, hint)
    policies = read_policy(policy)
    field_class = policies.classes.get(key.class_name)
    if field_class is None:
        if key.lender is not None:
            return  # its lender opens what it made, and no path has the class
        text = f"the policy has no class {key.class_name}, so it says not where its values are"
        hint = "give the policy that has it; or --no-sweep, if the data of the class is gone"
        raise KeySettingError(KeysReason.POLICY, text, hint)
    if field_class.mode is not Mode.DETERMINISTIC:
        return
    with connected(required_uri(uri), _RIGHTS) as client:
        found = _found(client, key, keyring, (policies, field_class))
    if found:
        rows = ((each.namespace, each.document_id) for each in found)
        show_table(("collection", "document"), rows, question_console())
        text = f"stored values need version {key.version} of class {key.class_name}"
        hint = (
            f"sealwire migrate repair POLICY {key.class_name} moves those at covered paths; "
            "what is beside them, write anew or remove"
        )
        raise MigrationRefused(MigrationReason.STILL_NEEDED, text, hint)


def _found(
    client: Client, key: DataKey, keyring: Keyring, of: tuple[PolicySet, FieldClass]
) -> Sequence[LeftValue]:
    """The first documents that need a key."""
    policies, field_class = of
    covered = [each for each in covered_collections(client, policies) if each.exists and each.kind != "view"]
    names = [each.namespace for each in covered]
    places = {each.namespace: each for each in class_paths(policies, names, key.class_name)}
    found: list[LeftValue] = []
    with client.start_session(causal_consistency=True) as session:
        still = Standstill(client, session, keyring, key.class_name)
        values = MongoValues(client, session, key.class_id, lambda: list(places.values()))
        still.confirm()
        for name in names:
            needs = needs_key(key, field_class, places.get(name))
            with document_count_bar(name, size_of(client, name)) as progress:
                found += _of_collection(values, name, needs, progress)
        still.require()  # a move that began meanwhile may have been missed
    return found[:MAX_REPORTED]


def _of_collection(
    values: MongoValues, namespace: str, needs: Callable[[bytes], bool], progress: Callable[[int], None]
) -> Iterator[LeftValue]:
    count = 0
    for raw in values.all(namespace):
        progress(1)
        if count < MAX_REPORTED and needs(raw):
            count += 1
            yield LeftValue(namespace, "", identity_of(raw), Left.RETIRED_KEY)
