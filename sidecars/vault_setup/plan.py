"""Compares what is wanted with what the server has, and carries out what is left to do.

Nothing is stored between runs: a set-up that was interrupted goes on from what it finds.

The way back takes away what a set-up made, and leaves alone what it found. Names tell what is ours; mounts
bear a mark in their description. Keys are kept unless they are named for destruction: what they wrapped can
never be opened again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sealwire.keys.errors import KeySettingError
from sealwire.keys.vault.admin import VaultAdmin
from sealwire.sidecars.errors import CannotCreate, SetupReason
from sealwire.sidecars.vault_setup.desired import (
    MARK,
    Fields,
    PlanLine,
    Resource,
    ResourceKind,
    ResourceState,
    VaultWrite,
    compare,
    resources,
)
from sealwire.sidecars.vault_setup.settings import SetupSettings

# ----------------------- the server's own audit log: without one, nobody can tell afterwards who used a key
#
# Vault takes an audit device through its API. OpenBao takes it from its configuration file unless that
# allows otherwise: then the step is for an operator, and its advice is the text to write.

_NAME = "sealwire"
_EXAMPLE_FILE = "/var/log/openbao/log"


def audit_step(server: VaultAdmin, audit_file: str | None) -> PlanLine:
    """Satisfied by any device: which one is the operator's choice. A new one would write to `audit_file`."""
    devices = server.read("sys/audit")
    if devices:
        return PlanLine(
            ResourceKind.AUDIT,
            ", ".join(sorted(name.rstrip("/") for name in devices)),
            ResourceState.SATISFIED,
        )
    if audit_file is None:
        return _by_hand(_EXAMPLE_FILE)
    body: Fields = {"type": "file", "options": {"file_path": audit_file}}
    return PlanLine(
        ResourceKind.AUDIT,
        _NAME,
        ResourceState.TO_DO,
        request=VaultWrite(f"sys/audit/{_NAME}", body),
        advice=audit_file,
    )


def _do(server: VaultAdmin, step: PlanLine, request: VaultWrite) -> PlanLine:
    """Do `step`; where the server takes no audit device through its API, say what to configure instead."""
    try:
        server.write(request.path, request.body)
    except KeySettingError as error:
        if step.kind is not ResourceKind.AUDIT:
            raise
        return _by_hand(step.advice, error.hint)
    return PlanLine(step.kind, step.name, ResourceState.SATISFIED, step.differences)


def configuration(audit_file: str) -> str:
    """The block of an OpenBao configuration that enables a file device."""
    return f'audit "file" "{_NAME}" {{\n  options {{ file_path = "{audit_file}" }}\n}}\n'


def _by_hand(audit_file: str, refusal: str = "") -> PlanLine:
    tried = f"not enabled; {refusal}." if refusal else "enable one with --audit-file."
    advice = (
        f"{tried} Or write this in the server's configuration and reload it:\n{configuration(audit_file)}"
    )
    return PlanLine(ResourceKind.AUDIT, _NAME, ResourceState.BY_HAND, advice=advice)


def compare_all(server: VaultAdmin, settings: SetupSettings) -> tuple[PlanLine, ...]:
    """One step a resource, in the order of making. Changes nothing.

    Cost:    one read a resource, about twenty
    Raises:  KekUnavailable, KekDenied where the token may not look
    """
    steps = (compare(resource, found) for resource, found in look(server, resources(settings)))
    return (*steps, audit_step(server, settings.audit_file))


def look(
    server: VaultAdmin, wanted: Iterable[Resource]
) -> Iterator[tuple[Resource, Mapping[str, Any] | None]]:
    """Each resource, and what the server has of it; a list that several are in is read once."""
    listings: dict[str, Mapping[str, Any]] = {}
    for resource in wanted:
        if resource.listing is None:
            yield resource, server.read(resource.path)
            continue
        if resource.listing not in listings:
            listings[resource.listing] = server.read(resource.listing) or {}
        found = listings[resource.listing].get(f"{resource.name}/")
        yield resource, found if isinstance(found, Mapping) else None


def require_changeable(steps: Sequence[PlanLine]) -> None:
    """Raises CannotCreate FIXED when a key, a mount or a login of that name is there and is another."""
    for step in steps:
        if step.state is ResourceState.BY_HAND and step.kind is not ResourceKind.AUDIT:
            raise CannotCreate(
                SetupReason.FIXED, f"the server has another {step.kind.value} called {step.name}", step.advice
            )


def carry_out(server: VaultAdmin, steps: Sequence[PlanLine]) -> Iterator[PlanLine]:
    """Do what is left to do, and give each step back as it then stands.

    Raises:  as `require_changeable`, before anything is changed; whatever the server refuses with, at the
             step that it refuses: those before it stay done, and running again goes on from there
    """
    require_changeable(steps)
    for step in steps:
        yield step if step.request is None else _do(server, step, step.request)


def verify(server: VaultAdmin, settings: SetupSettings, done: Sequence[PlanLine]) -> tuple[PlanLine, ...]:
    """How everything stands after `carry_out`, by a second look: what the server has, not what it was told.

    The audit device is as carrying out left it: a second look would not know what was tried.
    """
    audits = [step for step in done if step.kind is ResourceKind.AUDIT]
    return (*(step for step in compare_all(server, settings) if step.kind is not ResourceKind.AUDIT), *audits)


def outstanding(steps: Sequence[PlanLine]) -> tuple[PlanLine, ...]:
    """The steps that are not satisfied: the drift."""
    return tuple(step for step in steps if step.state is not ResourceState.SATISFIED)


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


def plan_removal(server: VaultAdmin, settings: SetupSettings, *, destroy_keys: bool) -> tuple[Removal, ...]:
    """What would be taken away, in the order of taking: the reverse of making. Changes nothing."""
    found = look(server, reversed(resources(settings)))
    decided = [_decide(resource, there, destroy_keys=destroy_keys) for resource, there in found]
    gone = {each.resource.path for each in decided if each.fate is Fate.REMOVE}
    if _keyring_lost(settings, decided):
        gone.add(_keyring_path(settings))
    return tuple(_kept_if_used(server, each, gone) for each in decided)


def _kept_if_used(server: VaultAdmin, removal: Removal, gone: Collection[str]) -> Removal:
    """A mount that will still hold something stays, as `carry_out` finds when it comes to it."""
    holds = removal.resource.holds
    if removal.fate is Fate.REMOVE and holds is not None and _remains(server, holds, gone):
        return Removal(removal.resource, Fate.KEEP, _HOLDS)
    return removal


def _remains(server: VaultAdmin, folder: str, gone: Collection[str]) -> bool:
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
    return any(each.kind is ResourceKind.KEY and each.name == settings.proxy_key for each in lost)


def _decide(resource: Resource, found: Mapping[str, Any] | None, *, destroy_keys: bool) -> Removal:
    if found is None:
        return Removal(resource, Fate.ABSENT)
    if resource.kind is ResourceKind.KEY and not destroy_keys:
        return Removal(resource, Fate.KEEP, "what it wrapped would be lost; --destroy-keys")
    if resource.holds is not None and found.get("description") != MARK:
        return Removal(resource, Fate.KEEP, "was there before the set-up")
    return Removal(resource, Fate.REMOVE)


def take_away(
    server: VaultAdmin, settings: SetupSettings, removals: tuple[Removal, ...]
) -> Iterator[Removal]:
    """Do it, and give each back as it then stands; a mount that still holds something is kept.

    Raises what the server refuses with; what is gone stays gone, and running again goes on from there.
    """
    keyring_lost = _keyring_lost(settings, removals)
    for removal in removals:
        if removal.fate is Fate.REMOVE:
            yield _remove(server, settings, removal.resource, keyring_lost=keyring_lost)
        else:
            yield removal


def _remove(
    server: VaultAdmin, settings: SetupSettings, resource: Resource, *, keyring_lost: bool
) -> Removal:
    if resource.kind is ResourceKind.KEY:
        server.write(f"{resource.path}/config", {"deletion_allowed": True})
    if keyring_lost and resource.kind is ResourceKind.MOUNT and resource.name == settings.kv_mount:
        # Without its key the keyring is only bytes; with it gone the mount may be empty.
        server.delete(_keyring_path(settings))
    if resource.holds is not None and server.list(resource.holds):
        return Removal(resource, Fate.KEEP, _HOLDS)
    server.delete(resource.path)
    return Removal(resource, Fate.REMOVE)
