"""From settings to everything that the server should have, in the order in which it can be made."""

from sealwire.sidecars.vault_setup.policy_documents import policy_text, rules
from sealwire.sidecars.vault_setup.resource import AtMost, Fields, Kind, Request, Resource
from sealwire.sidecars.vault_setup.settings import (
    HOUR_S,
    QUARTER_S,
    AppRole,
    Kubernetes,
    Role,
    SetupSettings,
    address_or_network,
)

# Stands in the description of the mounts that a set-up made; the rollback leaves all others alone.
MARK = "Made by sealwire vault setup"

# The proxy renews its token for as long as it runs; everybody else logs in for one task.
_PROXY_PERIOD_S = HOUR_S
_TASK_TTL_S = 20 * 60
_TASK_MAX_TTL_S = HOUR_S


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
        *(_policy(settings, role) for role in Role),
        *_auth(settings),
    )


def _mount(listing: str, name: str, wanted: Fields, holds: str, config: Fields | None = None) -> Resource:
    path = f"{listing}/{name}"
    # What is mounted there for another purpose has content: it is never changed, only reported.
    return Resource(
        Kind.AUTH if listing == "sys/auth" else Kind.MOUNT,
        name,
        path,
        wanted,
        create=Request(path, {**wanted, "description": MARK, **(config or {})}),
        change=None,
        listing=listing,
        entry=f"{name}/",
        fixed=frozenset(wanted),
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
        Kind.KEY,
        name,
        path,
        {**made, "deletion_allowed": False, "auto_rotate_period": period},
        create=Request(path, {**made, "auto_rotate_period": period_s}),
        change=Request(f"{path}/config", changeable),
        fixed=frozenset(made),
    )


def _policy(settings: SetupSettings, role: Role) -> Resource:
    name = settings.role_name(role)
    path = f"sys/policies/acl/{name}"
    wanted: Fields = {"policy": policy_text(rules(settings, role))}
    request = Request(path, wanted)
    return Resource(Kind.POLICY, name, path, wanted, request, request)


def _auth(settings: SetupSettings) -> tuple[Resource, ...]:
    auth = settings.auth
    holds = f"auth/{auth.mount}/role"
    roles = tuple(_role(settings, role) for role in Role)
    if isinstance(auth, AppRole):
        # Secret ids last no longer than the mount lets anything last: 32 days unless it says otherwise.
        config: Fields = {"config": {"max_lease_ttl": f"{auth.secret_id_ttl_s}s"}}
        return (_mount("sys/auth", auth.mount, {"type": "approle"}, holds, config), *roles)
    mount = _mount("sys/auth", auth.mount, {"type": "kubernetes"}, holds)
    return (mount, _kubernetes_config(auth), *roles)


def _kubernetes_config(auth: Kubernetes) -> Resource:
    path = f"auth/{auth.mount}/config"
    wanted: Fields = {"kubernetes_host": auth.host, "kubernetes_ca_cert": auth.ca_certificate}
    request = Request(path, wanted)
    return Resource(Kind.AUTH_CONFIG, auth.mount, path, wanted, request, request)


def _role(settings: SetupSettings, role: Role) -> Resource:
    name = settings.role_name(role)
    path = f"auth/{settings.auth.mount}/role/{name}"
    proxy = role is Role.PROXY
    wanted: Fields = {
        "token_policies": [name],
        "token_no_default_policy": True,
        "token_type": "service",
        "token_period": _PROXY_PERIOD_S if proxy else 0,
        "token_ttl": _PROXY_PERIOD_S if proxy else _TASK_TTL_S,
        "token_max_ttl": 0 if proxy else _TASK_MAX_TTL_S,
        **_login(settings.auth, name),
    }
    request = Request(path, wanted)
    return Resource(Kind.ROLE, name, path, wanted, request, request)


def _login(auth: AppRole | Kubernetes, name: str) -> Fields:
    if isinstance(auth, AppRole):
        networks = list(auth.bound_cidrs)
        return {
            "bind_secret_id": True,
            "secret_id_ttl": auth.secret_id_ttl_s,
            # A proxy that restarts logs in again with the same secret id.
            "secret_id_num_uses": 0,
            "secret_id_bound_cidrs": networks,
            # Servers write a network of one address as the address, here but not above.
            "token_bound_cidrs": [str(address_or_network(network)) for network in networks],
        }
    return {
        "bound_service_account_names": [name],
        "bound_service_account_namespaces": [auth.namespace],
        "audience": auth.audience,
    }
