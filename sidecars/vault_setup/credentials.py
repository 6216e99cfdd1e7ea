"""A role's login, given away: made inside the server, fetched by the one who is to have it, or taken back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sealwire.keys.errors import KeysError, KeySettingError
from sealwire.keys.vault.admin import VaultAdmin, Wrapped, unwrap
from sealwire.keys.vault.connection import VaultConnection
from sealwire.sidecars.errors import SET_UP_FIRST, SetupReason, Unavailable, Unusable
from sealwire.sidecars.vault_setup.settings import AppRole, SetupSettings, VaultRole

# Of one role, for `logins`. Revoking has no bound: it ends all that the server lists.
MAX_SECRET_IDS = 1_000
ENDS_SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class RoleLogin:
    """What a role's machines can log in with."""

    role: str
    secret_ids: int
    ends: datetime
    """The end of the secret id that lasts longest. A machine that starts after it is refused."""

    def ends_soon(self, now: datetime) -> bool:
        """Whether it is time to hand out a new one."""
        return self.ends - now < ENDS_SOON


@dataclass(frozen=True, slots=True)
class Revoked:
    """How many secret ids and tokens ended."""

    secret_ids: int
    tokens: int


def issue(server: VaultAdmin, settings: SetupSettings, role: VaultRole, wrap_ttl_s: int) -> Wrapped:
    """A new secret id for `role`, wrapped: it never passes through this process.

    Whoever takes it out is the only one who can; that somebody else was faster shows at once.
    Raises Unusable AUTH without AppRole; as `VaultAdmin` does.
    """
    return server.wrap(secret_id_path(settings, role), {}, wrap_ttl_s)


def role_id_of(server: VaultAdmin, settings: SetupSettings, role: VaultRole) -> str:
    """What a machine of `role` names itself by. Raises Unavailable NOT_SET_UP without the role."""
    role_id = (server.read(f"{_role_path(settings, role)}/role-id") or {}).get("role_id")
    if not isinstance(role_id, str):
        text = f"the server has no role {settings.role_name(role)}"
        raise Unavailable(SetupReason.NOT_SET_UP, text, SET_UP_FIRST)
    return role_id


def secret_id_path(settings: SetupSettings, role: VaultRole) -> str:
    """Where secret ids of `role` are made. Raises Unusable AUTH without AppRole."""
    if not isinstance(settings.auth, AppRole):
        text = "with Kubernetes there is no credential to hand over"
        raise Unusable(SetupReason.AUTH, text, "a pod logs in by its service account")
    return f"{_role_path(settings, role)}/secret-id"


def take_out(connection: VaultConnection, token: str, path: str) -> str:
    """The secret id that `token` wraps, made at `path`. Possible once; raises as `unwrap` does.

    Raises Unavailable NOT_SET_UP for what is no secret id
    """
    secret_id = unwrap(connection, token, path).get("secret_id")
    if not isinstance(secret_id, str):
        raise Unavailable(SetupReason.NOT_SET_UP, "what was wrapped is no secret id", "make a fresh one")
    return secret_id


def logins(server: VaultAdmin, settings: SetupSettings) -> tuple[RoleLogin, ...]:
    """The roles that somebody has a secret id for, and when the last of them ends. None with Kubernetes.

    Cost:    one request a role, one a secret id
    """
    if not isinstance(settings.auth, AppRole):
        return ()
    found = (_login(server, settings, role) for role in VaultRole)
    return tuple(login for login in found if login is not None)


def _login(server: VaultAdmin, settings: SetupSettings, role: VaultRole) -> RoleLogin | None:
    path = secret_id_path(settings, role)
    found = (_end(server, path, accessor) for accessor in server.list(path)[:MAX_SECRET_IDS])
    ends = [end for end in found if end is not None]
    return RoleLogin(settings.role_name(role), len(ends), max(ends)) if ends else None


def _end(server: VaultAdmin, path: str, accessor: str) -> datetime | None:
    """When a secret id ends, which servers write as the year 1 if never; None if it just has."""
    try:
        found = server.write(f"{path}-accessor/lookup", {"secret_id_accessor": accessor})
    except KeySettingError:
        return None
    end = datetime.fromisoformat(str(found["expiration_time"]))
    return end if end.year > 1 else datetime.max.replace(tzinfo=UTC)


def revoke(server: VaultAdmin, settings: SetupSettings, role: VaultRole) -> Revoked:
    """End every secret id and every token of `role`, at once. With Kubernetes there are only tokens.

    What has ended by itself meanwhile is passed over. Anything else that fails is raised, but only after all
    the others have been ended.
    Cost:    one request a secret id, one or two a token of the whole server
    Raises:  as `VaultAdmin` does
    """
    path, policy = f"{_role_path(settings, role)}/secret-id", settings.role_name(role)

    def destroy(accessor: str) -> bool:
        server.write(f"{path}-accessor/destroy", {"secret_id_accessor": accessor})
        return True

    def end_token(accessor: str) -> bool:
        token = server.write("auth/token/lookup-accessor", {"accessor": accessor})
        if policy not in (token.get("policies") or ()):
            return False
        server.write("auth/token/revoke-accessor", {"accessor": accessor})
        return True

    # Secret ids first: a token that ends later cannot be made anew.
    secret_ids, failed = _end_all(server, path, destroy) if isinstance(settings.auth, AppRole) else (0, [])
    tokens, failed_too = _end_all(server, "auth/token/accessors", end_token)
    for error in (*failed, *failed_too):
        raise error
    return Revoked(secret_ids, tokens)


def count_secret_ids(server: VaultAdmin, settings: SetupSettings, role: VaultRole) -> int:
    """How many secret ids of `role` there are to end; none with Kubernetes."""
    if not isinstance(settings.auth, AppRole):
        return 0
    return len(server.list(secret_id_path(settings, role)))


def _end_all(server: VaultAdmin, path: str, end: Callable[[str], bool]) -> tuple[int, list[KeysError]]:
    """How many of the accessors at `path` were ended, and what stands in the way of those still there."""
    ended = 0
    failures: dict[str, KeysError] = {}
    for accessor in server.list(path):
        try:
            ended += end(accessor)
        except KeysError as error:
            failures[accessor] = error
    left = server.list(path) if failures else ()
    return ended, [error for accessor, error in failures.items() if accessor in left]


def _role_path(settings: SetupSettings, role: VaultRole) -> str:
    return f"auth/{settings.auth.mount}/role/{settings.role_name(role)}"
