"""What each role may do on the server, and nothing else: the policies as data, and as text."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sealwire.sidecars.vault_setup.settings import AppRole, Role, SetupSettings

READ = ("read",)
# `update` alone: with `create`, encrypting under a name that does not exist would make a key of that name.
USE = ("update",)
WRITE = ("create", "read", "update")


@dataclass(frozen=True, slots=True)
class Rule:
    """One path and what may be done with it."""

    path: str
    capabilities: tuple[str, ...]
    only_parameters: tuple[str, ...] = ()
    """Parameters that a request may have; empty leaves them free."""


# Roles have no default policy, which would give more than the care for one's own token.
OWN_TOKEN = (
    Rule("auth/token/lookup-self", READ),
    Rule("auth/token/renew-self", USE),
    Rule("auth/token/revoke-self", USE),
)


def rules(settings: SetupSettings, role: Role) -> tuple[Rule, ...]:
    """Everything that `role` may do."""
    return (*_OF_ROLE[role](settings), *OWN_TOKEN)


def policy_text(rules: Iterable[Rule]) -> str:
    """The policy in the server's language (HCL), always the same text for the same rules."""
    return "\n".join(_block(rule) for rule in rules)


def _block(rule: Rule) -> str:
    lines = [f'path "{rule.path}" {{', f"  capabilities = {json.dumps(rule.capabilities)}"]
    if rule.only_parameters:
        allowed = ", ".join(f'"{name}" = []' for name in rule.only_parameters)
        lines.append(f"  allowed_parameters = {{ {allowed} }}")
    return "\n".join([*lines, "}"]) + "\n"


def _proxy(settings: SetupSettings) -> tuple[Rule, ...]:
    """Opens data keys and reads the keyring. It makes none, so it may not wrap any."""
    return (
        Rule(f"{settings.transit_mount}/decrypt/{settings.proxy_key}", USE),
        Rule(f"{settings.kv_mount}/data/{settings.keyring}", READ),
        *(_contexts(settings, proxy=True) if settings.with_contexts else ()),
    )


def _contexts(settings: SetupSettings, *, proxy: bool) -> tuple[Rule, ...]:
    """Keys of contexts: a proxy makes and finds them. Only others go through them, or destroy any.

    Each context has documents of its own, hence the wildcards. `keys/vault/context_documents` says which.
    """
    mount, path = settings.kv_mount, settings.contexts
    both = (
        Rule(f"{mount}/data/{path}/store", WRITE),
        Rule(f"{mount}/data/{path}/tags/*", WRITE),
        Rule(f"{mount}/data/{path}/ids/*", ("create", "read")),
    )
    write = READ if proxy else WRITE
    more = (
        Rule(f"{mount}/data/{path}/former/*", write),
        Rule(f"{mount}/data/{path}/destroyed/*", write),
    )
    if proxy:
        return (*both, *more)
    return (
        *both,
        *more,
        Rule(f"{mount}/metadata/{path}/*", ("list", "read", "update")),
        Rule(f"{mount}/destroy/{path}/tags/*", USE),
    )


def _backup_writer(settings: SetupSettings) -> tuple[Rule, ...]:
    """Wraps the data key of a new backup; whoever takes the machine over can read no backup with it."""
    return (Rule(f"{settings.transit_mount}/encrypt/{settings.backup_key}", USE),)


def _backup_restorer(settings: SetupSettings) -> tuple[Rule, ...]:
    return (Rule(f"{settings.transit_mount}/decrypt/{settings.backup_key}", USE),)


def _rotation(settings: SetupSettings) -> tuple[Rule, ...]:
    """Makes and re-wraps data keys, rotates both keys, and sets their period but nothing else of them."""
    transit = settings.transit_mount
    return (
        Rule(f"{transit}/encrypt/{settings.proxy_key}", USE),
        Rule(f"{transit}/decrypt/{settings.proxy_key}", USE),
        *(
            rule
            for key in settings.keys
            for rule in (
                Rule(f"{transit}/rewrap/{key}", USE),
                Rule(f"{transit}/keys/{key}", READ),
                Rule(f"{transit}/keys/{key}/rotate", USE),
                Rule(f"{transit}/keys/{key}/config", USE, only_parameters=("auto_rotate_period",)),
            )
        ),
        Rule(f"{settings.kv_mount}/data/{settings.keyring}", WRITE),
        Rule(f"{settings.kv_mount}/metadata/{settings.keyring}", READ),
        *(_contexts(settings, proxy=False) if settings.with_contexts else ()),
    )


def _auditor(settings: SetupSettings) -> tuple[Rule, ...]:
    """Reads how the server is set up, which is what `sealwire vault status` needs, and no secret."""
    auth = f"auth/{settings.auth.mount}"
    return (
        Rule("sys/mounts", READ),
        Rule("sys/auth", READ),
        # The server asks for sudo even to read the list of audit devices.
        Rule("sys/audit", (*READ, "sudo")),
        *(Rule(f"{settings.transit_mount}/keys/{key}", READ) for key in settings.keys),
        *(Rule(f"sys/policies/acl/{settings.role_name(role)}", READ) for role in Role),
        *(Rule(f"{auth}/role/{settings.role_name(role)}", READ) for role in Role),
        *(
            _secret_ids(settings, auth)
            if isinstance(settings.auth, AppRole)
            else (Rule(f"{auth}/config", READ),)
        ),
    )


def _secret_ids(settings: SetupSettings, auth: str) -> tuple[Rule, ...]:
    """Rules for seeing when logins end. An accessor names a secret id, and does not log in."""
    paths = [f"{auth}/role/{settings.role_name(role)}/secret-id" for role in Role]
    return tuple(
        rule for path in paths for rule in (Rule(path, ("list",)), Rule(f"{path}-accessor/lookup", USE))
    )


_OF_ROLE = {
    Role.PROXY: _proxy,
    Role.BACKUP_WRITER: _backup_writer,
    Role.BACKUP_RESTORER: _backup_restorer,
    Role.ROTATION: _rotation,
    Role.AUDITOR: _auditor,
}
