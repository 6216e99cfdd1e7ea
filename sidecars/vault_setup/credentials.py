"""A role's login, given away: made inside the server, fetched by the one who is to have it, or taken back."""

from dataclasses import dataclass, field

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.vault.admin import Wrapped
from sealwire.sidecars.vault_setup.errors import ServerState, SetupReason, UnusableSetting
from sealwire.sidecars.vault_setup.server import Server
from sealwire.sidecars.vault_setup.settings import AppRole, Role, SetupSettings

# Bounds the walk over a server's tokens.
MAX_TOKENS = 100_000


@dataclass(frozen=True, slots=True)
class Credential(Unpicklable):
    """A login as it is handed over: a role id, which is no secret, and a wrapped secret id."""

    role_id: str
    secret_id: Wrapped = field(repr=False)


@dataclass(frozen=True, slots=True)
class Revoked:
    """How many secret ids and tokens ended."""

    secret_ids: int
    tokens: int


def issue(server: Server, settings: SetupSettings, role: Role, wrap_ttl_s: int) -> Credential:
    """A new secret id for `role`, wrapped: it never passes through this process.

    Whoever takes it out is the only one who can; that somebody else was faster shows at once.
    Raises UnusableSetting AUTH without AppRole, ServerState NOT_SET_UP without the role; as `Server` does.
    """
    path = secret_id_path(settings, role)
    role_id = (server.read(f"{_role_path(settings, role)}/role-id") or {}).get("role_id")
    if not isinstance(role_id, str):
        raise ServerState(
            SetupReason.NOT_SET_UP,
            f"the server has no role {settings.role_name(role)}",
            "set it up first: sealwire vault setup",
        )
    return Credential(role_id, server.wrap(path, {}, wrap_ttl_s))


def secret_id_path(settings: SetupSettings, role: Role) -> str:
    """Where secret ids of `role` are made. Raises UnusableSetting AUTH."""
    return f"{_role_path(settings, role)}/secret-id"


def revoke(server: Server, settings: SetupSettings, role: Role) -> Revoked:
    """End every secret id and every token of `role`, at once.

    Cost:    one request a secret id, one or two a token of the whole server
    Raises:  UnusableSetting AUTH without AppRole; as `Server` does
    """
    path = secret_id_path(settings, role)
    accessors = server.list(path)
    # Secret ids first: a token that ends later cannot be made anew.
    for accessor in accessors:
        server.write(f"{path}-accessor/destroy", {"secret_id_accessor": accessor})
    return Revoked(len(accessors), _revoke_tokens(server, settings.role_name(role)))


def _revoke_tokens(server: Server, policy: str) -> int:
    ended = 0
    for accessor in server.list("auth/token/accessors")[:MAX_TOKENS]:
        token = server.write("auth/token/lookup-accessor", {"accessor": accessor})
        if policy in (token.get("policies") or ()):
            server.write("auth/token/revoke-accessor", {"accessor": accessor})
            ended += 1
    return ended


def _role_path(settings: SetupSettings, role: Role) -> str:
    if not isinstance(settings.auth, AppRole):
        raise UnusableSetting(
            SetupReason.AUTH,
            "with Kubernetes there is no credential to hand over or to revoke",
            "delete the service account, or take its role away",
        )
    return f"auth/{settings.auth.mount}/role/{settings.role_name(role)}"
