"""From settings to everything that the server should have: what each role may do, and all else in order."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sealwire.keys.vault.admin import VaultAdmin
from sealwire.sidecars.errors import SET_UP_FIRST, SetupReason, Unavailable
from sealwire.sidecars.vault_setup.settings import (
    HOUR_S,
    QUARTER_S,
    AppRole,
    Kubernetes,
    SetupSettings,
    VaultRole,
    address_or_network,
)

# One thing that a server should have: how it is read, made, changed, taken away, and what is left to do.

# What the server's JSON holds; bool is an int.
Value = str | int | list[str] | dict[str, str] | None
Fields = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class AtMost:
    """Wanted of a number: from 1 to `limit`. 0 is "never" or "without end" to servers."""

    limit: int

    def __str__(self) -> str:
        return f"1 to {self.limit}"


class ResourceKind(Enum):
    """What a resource is, for people; the order is the order of making."""

    MOUNT = "mount"
    KEY = "key"
    POLICY = "policy"
    AUTH = "auth"
    AUTH_CONFIG = "auth configuration"
    ROLE = "role"
    AUDIT = "audit device"


@dataclass(frozen=True, slots=True)
class VaultWrite:
    """One write: the path of the API below /v1/ and the body."""

    path: str
    body: Fields


@dataclass(frozen=True, slots=True)
class Resource:
    """What is wanted, and the requests that lead there. Holds no secret."""

    kind: ResourceKind
    name: str
    path: str
    """Reading it gives the fields; deleting it takes the resource away."""
    wanted: Mapping[str, Value | AtMost]
    """Fields that must be so; others are the operator's own."""
    create: VaultWrite
    change: VaultWrite | None
    """What makes fields differ no more; None where a difference is an operator's to decide."""
    listing: str | None = None
    """The list that has the resource under its name, for a `path` that cannot be read by itself."""
    fixed: frozenset[str] = frozenset()
    """Fields that stay as they were made."""
    holds: str | None = None
    """The list of a mount's content, so that only an empty mount is taken away."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as wanted."""

    field: str
    wanted: Value | AtMost
    found: Value


def differences(wanted: Mapping[str, Value | AtMost], found: Fields) -> tuple[Difference, ...]:
    """Fields of `wanted` that `found` has otherwise, in the order of `wanted`."""
    return tuple(
        Difference(name, value, found.get(name))
        for name, value in wanted.items()
        if not _agrees(value, found.get(name))
    )


def _agrees(wanted: Value | AtMost, found: Value) -> bool:
    if isinstance(wanted, AtMost):
        return isinstance(found, int) and 1 <= found <= wanted.limit
    return _normal(wanted) == _normal(found)


def _normal(value: Value) -> object:
    """Servers keep lists as sets, and say null for an empty one."""
    if isinstance(value, list):
        return frozenset(value)
    return frozenset() if value is None else value


class ResourceState(Enum):
    """How a resource stands to what is wanted."""

    SATISFIED = "satisfied"
    TO_DO = "to do"
    DIFFERS = "differs"
    BY_HAND = "by hand"
    """Differs in a way that no set-up may mend by itself; `advice` says what an operator can do."""


@dataclass(frozen=True, slots=True)
class PlanLine:
    """One line of the plan. `request` is what brings it about, where a set-up may."""

    kind: ResourceKind
    name: str
    state: ResourceState
    differences: tuple[Difference, ...] = ()
    request: VaultWrite | None = None
    advice: str = ""


def compare(resource: Resource, found: Mapping[str, Any] | None) -> PlanLine:
    """The step for `resource`, of which the server says `found`."""
    if found is None:
        return PlanLine(resource.kind, resource.name, ResourceState.TO_DO, request=resource.create)
    different = differences(resource.wanted, found)
    if not different:
        return PlanLine(resource.kind, resource.name, ResourceState.SATISFIED)
    if resource.change is None or any(each.field in resource.fixed for each in different):
        advice = f"choose another name for the {resource.kind.value}, or move what is there away"
        return PlanLine(resource.kind, resource.name, ResourceState.BY_HAND, different, advice=advice)
    return PlanLine(resource.kind, resource.name, ResourceState.DIFFERS, different, resource.change)


READ = ("read",)
# `update` alone: with `create`, encrypting under a name that does not exist would make a key of that name.
USE = ("update",)
WRITE = ("create", "read", "update")


@dataclass(frozen=True, slots=True)
class PathRule:
    """One path and what may be done with it."""

    path: str
    capabilities: tuple[str, ...]
    only_parameters: tuple[str, ...] = ()
    """Parameters that a request may have; empty leaves them free."""


# Roles have no default policy, which would give more than the care for one's own token.
OWN_TOKEN = (
    PathRule("auth/token/lookup-self", READ),
    PathRule("auth/token/renew-self", USE),
    PathRule("auth/token/revoke-self", USE),
)


def rules(settings: SetupSettings, role: VaultRole) -> tuple[PathRule, ...]:
    """Everything that `role` may do."""
    return (*_OF_ROLE[role](settings), *OWN_TOKEN)


def policy_text(rules: Iterable[PathRule]) -> str:
    """The policy in the server's language (HCL), always the same text for the same rules."""
    return "\n".join(_block(rule) for rule in rules)


def _block(rule: PathRule) -> str:
    lines = [f'path "{rule.path}" {{', f"  capabilities = {json.dumps(rule.capabilities)}"]
    if rule.only_parameters:
        allowed = ", ".join(f'"{name}" = []' for name in rule.only_parameters)
        lines.append(f"  allowed_parameters = {{ {allowed} }}")
    return "\n".join([*lines, "}"]) + "\n"


def _proxy(settings: SetupSettings) -> tuple[PathRule, ...]:
    """Opens data keys and reads the keyring. It makes none, so it may not wrap any."""
    return (
        PathRule(f"{settings.transit_mount}/decrypt/{settings.proxy_key}", USE),
        PathRule(f"{settings.kv_mount}/data/{settings.keyring}", READ),
        *(_contexts(settings, proxy=True) if settings.with_contexts else ()),
    )


def _contexts(settings: SetupSettings, *, proxy: bool) -> tuple[PathRule, ...]:
    """Keys of contexts: a proxy makes and finds them. Only others go through them, or destroy any.

    Each context has documents of its own, hence the wildcards. `keys/vault/context_documents` says which.
    """
    mount, path = settings.kv_mount, settings.contexts
    former = READ if proxy else WRITE
    rows = (
        PathRule(f"{mount}/data/{path}/store", WRITE),
        PathRule(f"{mount}/data/{path}/tags/*", WRITE),
        PathRule(f"{mount}/data/{path}/ids/*", ("create", "read")),
        PathRule(f"{mount}/data/{path}/former/*", former),
        PathRule(f"{mount}/data/{path}/destroyed/*", former),
    )
    if proxy:
        return rows
    listed = PathRule(f"{mount}/metadata/{path}/*", ("list", "read", "update"))
    return (*rows, listed, PathRule(f"{mount}/destroy/{path}/tags/*", USE))


def _backup_writer(settings: SetupSettings) -> tuple[PathRule, ...]:
    """Wraps the data key of a new backup; whoever takes the machine over can read no backup with it."""
    return (PathRule(f"{settings.transit_mount}/encrypt/{settings.backup_key}", USE),)


def _backup_restorer(settings: SetupSettings) -> tuple[PathRule, ...]:
    return (PathRule(f"{settings.transit_mount}/decrypt/{settings.backup_key}", USE),)


def _rotation(settings: SetupSettings) -> tuple[PathRule, ...]:
    """Makes and re-wraps data keys, rotates both keys, and sets their period but nothing else of them."""
    transit = settings.transit_mount
    return (
        PathRule(f"{transit}/encrypt/{settings.proxy_key}", USE),
        PathRule(f"{transit}/decrypt/{settings.proxy_key}", USE),
        *(
            rule
            for key in settings.keys
            for rule in (
                PathRule(f"{transit}/rewrap/{key}", USE),
                PathRule(f"{transit}/keys/{key}", READ),
                PathRule(f"{transit}/keys/{key}/rotate", USE),
                PathRule(f"{transit}/keys/{key}/config", USE, only_parameters=("auto_rotate_period",)),
            )
        ),
        PathRule(f"{settings.kv_mount}/data/{settings.keyring}", WRITE),
        PathRule(f"{settings.kv_mount}/metadata/{settings.keyring}", READ),
        *(_contexts(settings, proxy=False) if settings.with_contexts else ()),
    )


def _auditor(settings: SetupSettings) -> tuple[PathRule, ...]:
    """Reads how the server is set up, which is what `sealwire vault status` needs, and no secret."""
    auth = f"auth/{settings.auth.mount}"
    return (
        PathRule("sys/mounts", READ),
        PathRule("sys/auth", READ),
        # The server asks for sudo even to read the list of audit devices.
        PathRule("sys/audit", (*READ, "sudo")),
        *(PathRule(f"{settings.transit_mount}/keys/{key}", READ) for key in settings.keys),
        *(PathRule(f"sys/policies/acl/{settings.role_name(role)}", READ) for role in VaultRole),
        *(PathRule(f"{auth}/role/{settings.role_name(role)}", READ) for role in VaultRole),
        *(
            _secret_ids(settings, auth)
            if isinstance(settings.auth, AppRole)
            else (PathRule(f"{auth}/config", READ),)
        ),
    )


def _secret_ids(settings: SetupSettings, auth: str) -> tuple[PathRule, ...]:
    """Rules for seeing when logins end. An accessor names a secret id, and does not log in."""
    paths = [f"{auth}/role/{settings.role_name(role)}/secret-id" for role in VaultRole]
    return tuple(
        rule
        for path in paths
        for rule in (PathRule(path, ("list",)), PathRule(f"{path}-accessor/lookup", USE))
    )


_OF_ROLE = {
    VaultRole.PROXY: _proxy,
    VaultRole.BACKUP_WRITER: _backup_writer,
    VaultRole.BACKUP_RESTORER: _backup_restorer,
    VaultRole.ROTATION: _rotation,
    VaultRole.AUDITOR: _auditor,
}


# Stands in the description of the mounts that a set-up made; the rollback leaves all others alone.
MARK = "Made by sealwire vault setup"

# The proxy renews its token for as long as it runs; everybody else logs in for one task.
_PROXY_PERIOD_S = HOUR_S
_TASK_TTL_S = 20 * 60
_TASK_MAX_TTL_S = HOUR_S


# ----------------------------------------- how old the transit keys may become, and making them new at once
#
# Rotating adds a version: new wraps use it, and what older versions wrapped still opens until it is
# re-wrapped.


@dataclass(frozen=True, slots=True)
class KeyAge:
    """One transit key: which version wraps now, since when, and how often it is made new."""

    name: str
    version: int
    made: datetime
    period_s: int
    """0: never by itself."""

    def overdue(self, now: datetime) -> bool:
        """Whether the server should have rotated it, with a day's grace for its own schedule."""
        return self.period_s > 0 and (now - self.made).total_seconds() > self.period_s + 86400


def ages(server: VaultAdmin, settings: SetupSettings) -> tuple[KeyAge, ...]:
    """Every key of `settings`. Raises Unavailable NOT_SET_UP when one is missing; as `VaultAdmin` does."""
    return tuple(_age(server, settings, name) for name in settings.keys)


def set_period(server: VaultAdmin, settings: SetupSettings, name: str, period_s: int) -> None:
    """Have the server rotate key `name` every `period_s` seconds."""
    server.write(f"{_path(settings, name)}/config", {"auto_rotate_period": period_s})


def rotate_now(server: VaultAdmin, settings: SetupSettings, name: str) -> None:
    server.write(f"{_path(settings, name)}/rotate", {})


def _path(settings: SetupSettings, name: str) -> str:
    return f"{settings.transit_mount}/keys/{name}"


def _age(server: VaultAdmin, settings: SetupSettings, name: str) -> KeyAge:
    found = server.read(_path(settings, name))
    if found is None:
        raise Unavailable(SetupReason.NOT_SET_UP, f"the server has no key {name}", SET_UP_FIRST)
    version = int(found["latest_version"])
    made = datetime.fromtimestamp(int(found["keys"][str(version)]), UTC)
    return KeyAge(name, version, made, int(found["auto_rotate_period"]))


def resources(settings: SetupSettings) -> tuple[Resource, ...]:
    """Everything that `settings` ask for but the audit device, which servers treat differently."""
    return (
        _mount("sys/mounts", settings.transit_mount, {"type": "transit"}, f"{settings.transit_mount}/keys"),
        _mount(
            "sys/mounts",
            settings.kv_mount,
            {"type": "kv", "options": {"version": "2"}},
            f"{settings.kv_mount}/metadata",
        ),
        *(_key(settings, name) for name in settings.keys),
        *(_policy(settings, role) for role in VaultRole),
        *_auth(settings),
    )


def _mount(listing: str, name: str, wanted: Fields, holds: str, config: Fields | None = None) -> Resource:
    path = f"{listing}/{name}"
    # What is mounted there for another purpose has content: it is never changed, only reported.
    return Resource(
        ResourceKind.AUTH if listing == "sys/auth" else ResourceKind.MOUNT,
        name,
        path,
        wanted,
        create=VaultWrite(path, {**wanted, "description": MARK, **(config or {})}),
        change=None,
        listing=listing,
        holds=holds,
    )


def _key(settings: SetupSettings, name: str) -> Resource:
    """A derived key: each wrapped key gets its own through its context, so no two share a nonce space."""
    path = f"{settings.transit_mount}/keys/{name}"
    period_s = settings.rotation_s or QUARTER_S
    made: Fields = {
        "type": "aes256-gcm96",
        "derived": True,
        "exportable": False,
        "allow_plaintext_backup": False,
    }
    changeable: Fields = {"deletion_allowed": False, "auto_rotate_period": period_s}
    period = AtMost(QUARTER_S) if settings.rotation_s is None else settings.rotation_s
    return Resource(
        ResourceKind.KEY,
        name,
        path,
        {**made, "deletion_allowed": False, "auto_rotate_period": period},
        create=VaultWrite(path, {**made, "auto_rotate_period": period_s}),
        change=VaultWrite(f"{path}/config", changeable),
        fixed=frozenset(made),
    )


def _policy(settings: SetupSettings, role: VaultRole) -> Resource:
    name = settings.role_name(role)
    path = f"sys/policies/acl/{name}"
    wanted: Fields = {"policy": policy_text(rules(settings, role))}
    request = VaultWrite(path, wanted)
    return Resource(ResourceKind.POLICY, name, path, wanted, request, request)


def _auth(settings: SetupSettings) -> tuple[Resource, ...]:
    auth = settings.auth
    holds = f"auth/{auth.mount}/role"
    roles = tuple(_role(settings, role) for role in VaultRole)
    if isinstance(auth, AppRole):
        # Secret ids last no longer than the mount lets anything last: 32 days unless it says otherwise.
        config: Fields = {"config": {"max_lease_ttl": f"{QUARTER_S}s"}}
        return (_mount("sys/auth", auth.mount, {"type": "approle"}, holds, config), *roles)
    mount = _mount("sys/auth", auth.mount, {"type": "kubernetes"}, holds)
    return (mount, _kubernetes_config(auth), *roles)


def _kubernetes_config(auth: Kubernetes) -> Resource:
    path = f"auth/{auth.mount}/config"
    wanted: Fields = {"kubernetes_host": auth.host, "kubernetes_ca_cert": auth.ca_certificate}
    request = VaultWrite(path, wanted)
    return Resource(ResourceKind.AUTH_CONFIG, auth.mount, path, wanted, request, request)


def _role(settings: SetupSettings, role: VaultRole) -> Resource:
    name = settings.role_name(role)
    path = f"auth/{settings.auth.mount}/role/{name}"
    proxy = role is VaultRole.PROXY
    wanted: Fields = {
        "token_policies": [name],
        "token_no_default_policy": True,
        "token_type": "service",
        "token_period": _PROXY_PERIOD_S if proxy else 0,
        "token_ttl": _PROXY_PERIOD_S if proxy else _TASK_TTL_S,
        "token_max_ttl": 0 if proxy else _TASK_MAX_TTL_S,
        **_login(settings.auth, name),
    }
    request = VaultWrite(path, wanted)
    return Resource(ResourceKind.ROLE, name, path, wanted, request, request)


def _login(auth: AppRole | Kubernetes, name: str) -> Fields:
    if isinstance(auth, AppRole):
        networks = list(auth.bound_cidrs)
        return {
            "bind_secret_id": True,
            # One that nobody renews ends by itself.
            "secret_id_ttl": QUARTER_S,
            # A proxy that restarts logs in again with the same secret id.
            "secret_id_num_uses": 0,
            "secret_id_bound_cidrs": networks,
            # Servers write a network of one address as the address, here but not above.
            "token_bound_cidrs": [str(address_or_network(network)) for network in networks],
        }
    return {
        "bound_service_account_names": [name],
        "bound_service_account_namespaces": [auth.namespace],
        "audience": "sealwire",
    }
