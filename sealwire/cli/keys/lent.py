"""Keys that a class borrows from another one, as commands ask for them, refuse them and show them."""

from collections.abc import Mapping
from pathlib import Path

from sealwire.cli.subjects import read_policy
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState


def require_alike(policy: Path | None, borrower: str, lender: str) -> None:
    """See that the policy makes both classes alike: one key then gives a value of either one ciphertext.

    Raises KeySettingError POLICY, also without a policy and for a class that it does not have.
    """
    if policy is None:
        raise KeySettingError(
            KeysReason.POLICY,
            "only classes that are alike may have one key, and no policy was given that says so",
            "give --policy with the policy that names both classes",
        )
    policies = read_policy(policy)
    for name in (borrower, lender):
        if name not in policies.classes:
            raise KeySettingError(
                KeysReason.POLICY,
                f"the policy has no class {name}",
                f"declare {borrower} as {lender} is declared, and give its paths that class",
            )
    if policies.unlike([(borrower, lender)]):
        raise KeySettingError(
            KeysReason.POLICY,
            f"the classes {borrower} and {lender} may not have one key: the policy makes them differ",
            "both have to be deterministic, of one type and range, and without keys for contexts",
        )


def require_unnamed(key: DataKey, policy: Path | None) -> None:
    """See that no policy names the class of a borrowed key that is active, before it is retired.

    Raises KeySettingError POLICY. Any other key is not looked at: the keyring says what may become of it.
    """
    if key.lender is None or key.state is not KeyState.ACTIVE:
        return
    if policy is None:
        raise KeySettingError(
            KeysReason.POLICY,
            f"version {key.version} of class {key.class_name} is active: whether the class is in use stands "
            "in the policy, and none was given",
            "give --policy with the policy that every Sealwire has loaded",
        )
    if key.class_name in read_policy(policy).classes:
        raise KeySettingError(
            KeysReason.POLICY,
            f"the policy has the class {key.class_name} still",
            "give its paths the lender's class, take it out of the policy, and reload every Sealwire first",
        )


def key_of(lender: KeyIds | None, names: Mapping[int, str]) -> dict[str, str | int] | None:
    """Whose key a borrowed version is, for programs; `names` by class id."""
    return None if lender is None else {"class": names[lender.class_id], "version": lender.version}


def shown_key_of(lender: KeyIds | None, names: Mapping[int, str]) -> str:
    """The same behind a state, for people; empty for a key of its own."""
    return "" if lender is None else f", key of {names[lender.class_id]} {lender.version}"
