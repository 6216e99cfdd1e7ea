"""Policies that tests write out."""

from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet


def policy_of(text: str | bytes) -> PolicySet:
    """What the file `policy.yaml` with this text says."""
    return load_policy(text.encode() if isinstance(text, str) else text, "policy.yaml")
