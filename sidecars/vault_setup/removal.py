"""The way back: takes away what a set-up made, and leaves alone what it found.

Names tell what is ours; mounts bear a mark in their description. Keys are kept unless they are named for
destruction: what they wrapped can never be opened again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sealwire.sidecars.vault_setup.desired import MARK, resources
from sealwire.sidecars.vault_setup.plan import look
from sealwire.sidecars.vault_setup.resource import Kind, Resource, Server
from sealwire.sidecars.vault_setup.settings import SetupSettings

_HOLDS = "holds something else"


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
    decided = [_decide(resource, there, destroy_keys=destroy_keys) for resource, there in found]
    gone = {each.resource.path for each in decided if each.fate is Fate.REMOVE}
    if _keyring_lost(settings, decided):
        gone.add(_keyring_path(settings))
    return tuple(_kept_if_used(server, each, gone) for each in decided)


def _kept_if_used(server: Server, removal: Removal, gone: Collection[str]) -> Removal:
    """A mount that will still hold something stays, as `carry_out` finds when it comes to it."""
    holds = removal.resource.holds
    if removal.fate is Fate.REMOVE and holds is not None and _remains(server, holds, gone):
        return Removal(removal.resource, Fate.KEEP, _HOLDS)
    return removal


def _remains(server: Server, folder: str, gone: Collection[str]) -> bool:
    """Whether a folder holds anything once these paths are gone. Cost: a list for each folder above them."""
    for name in server.list(folder):
        path = f"{folder}/{name.rstrip('/')}"
        if name.endswith("/") and any(each.startswith(f"{path}/") for each in gone):
            if _remains(server, path, gone):
                return True
        elif path not in gone:
            return True
    return False


def _keyring_path(settings: SetupSettings) -> str:
    return f"{settings.kv_mount}/metadata/{settings.keyring}"


def _keyring_lost(settings: SetupSettings, removals: Iterable[Removal]) -> bool:
    """Whether the key of the keyring goes. Roles and policies have the same names: only the key counts."""
    lost = (each.resource for each in removals if each.fate is Fate.REMOVE)
    return any(each.kind is Kind.KEY and each.name == settings.proxy_key for each in lost)


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
    keyring_lost = _keyring_lost(settings, removals)
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
        server.delete(_keyring_path(settings))
    if resource.holds is not None and server.list(resource.holds):
        return Removal(resource, Fate.KEEP, _HOLDS)
    server.delete(resource.path)
    return Removal(resource, Fate.REMOVE)
