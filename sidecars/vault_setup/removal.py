"""The way back: takes away what a set-up made, and leaves alone what it found.

Names tell what is ours; mounts bear a mark in their description. Keys are kept unless they are named for
destruction: what they wrapped can never be opened again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sealwire.sidecars.vault_setup.desired import MARK, resources
from sealwire.sidecars.vault_setup.plan import look
from sealwire.sidecars.vault_setup.resource import Kind, Resource
from sealwire.sidecars.vault_setup.server import Server
from sealwire.sidecars.vault_setup.settings import SetupSettings


class Fate(Enum):
    """What becomes of a resource."""

    REMOVE = "remove"
    KEEP = "keep"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Removal:
    """One resource, and why it stays where it does."""

    resource: Resource
    fate: Fate
    reason: str = ""


def plan_removal(server: Server, settings: SetupSettings, *, destroy_keys: bool) -> tuple[Removal, ...]:
    """What would be taken away, in the order of taking: the reverse of making. Changes nothing."""
    found = look(server, reversed(resources(settings)))
    return tuple(_decide(resource, there, destroy_keys=destroy_keys) for resource, there in found)


def _decide(resource: Resource, found: Mapping[str, Any] | None, *, destroy_keys: bool) -> Removal:
    if found is None:
        return Removal(resource, Fate.ABSENT)
    if resource.kind is Kind.KEY and not destroy_keys:
        return Removal(resource, Fate.KEEP, "what it wrapped would be lost; --destroy-keys")
    if resource.holds is not None and found.get("description") != MARK:
        return Removal(resource, Fate.KEEP, "was there before the set-up")
    return Removal(resource, Fate.REMOVE)


def carry_out(server: Server, settings: SetupSettings, removals: tuple[Removal, ...]) -> Iterator[Removal]:
    """Do it, and give each back as it then stands; a mount that still holds something is kept.

    Raises what the server refuses with; what is gone stays gone, and running again goes on from there.
    """
    # Roles and policies have the same names: only the key itself counts.
    lost = [each.resource for each in removals if each.fate is Fate.REMOVE]
    keyring_lost = any(each.kind is Kind.KEY and each.name == settings.proxy_key for each in lost)
    for removal in removals:
        if removal.fate is Fate.REMOVE:
            yield _remove(server, settings, removal.resource, keyring_lost=keyring_lost)
        else:
            yield removal


def _remove(server: Server, settings: SetupSettings, resource: Resource, *, keyring_lost: bool) -> Removal:
    if resource.kind is Kind.KEY:
        server.write(f"{resource.path}/config", {"deletion_allowed": True})
    if keyring_lost and resource.kind is Kind.MOUNT and resource.name == settings.kv_mount:
        # Without its key the keyring is only bytes; with it gone the mount may be empty.
        server.delete(f"{settings.kv_mount}/metadata/{settings.keyring}")
    if resource.holds is not None and server.list(resource.holds):
        return Removal(resource, Fate.KEEP, "holds something else")
    server.delete(resource.path)
    return Removal(resource, Fate.REMOVE)
