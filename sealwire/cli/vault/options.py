"""Options that say where the Vault server is, who asks, and what things are called on it."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import click

from sealwire.cli.options.common import PATH, settings
from sealwire.keys.vault.admin import NoLogin, VaultAdmin, VaultSeal
from sealwire.keys.vault.connection import TOKEN_VARIABLES, VaultConnection
from sealwire.keys.vault.settings import AuthMethod, VaultSettings, settings_from_environment
from sealwire.sidecars.vault_setup.settings import (
    AppRole,
    Kubernetes,
    Role,
    SetupSettings,
    parse_period,
    read_kubernetes,
)

# Making the first keys of a slow server may take long, and cannot be asked for a second time.
_PATIENT_TIMEOUT_S = 60.0
_PATIENT_DEADLINE_S = 180.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where the server is; the login is looked for when a connection is made."""

    address: str | None
    ca: Path | None
    namespace: str | None
    token_file: Path | None

    def admin(self) -> VaultAdmin:
        """Logged in by the token file, else as SEALWIRE_VAULT_AUTH says, else by VAULT_TOKEN or a prompt.

        Raises KeySettingError VAULT_SETTING.
        """
        environ = self._environ()
        settings = settings_from_environment(environ)
        given = any(environ.get(name) for name in TOKEN_VARIABLES)
        if settings.auth.method is AuthMethod.TOKEN and not given and sys.stdin.isatty():
            environ["VAULT_TOKEN"] = str(click.prompt("Vault token", hide_input=True, err=True))
        return VaultAdmin(VaultConnection(settings, environ))

    def without_login(self) -> VaultConnection:
        """A connection for what needs no token. Raises KeySettingError VAULT_SETTING."""
        environ = {name: value for name, value in self._environ().items() if name != "SEALWIRE_VAULT_AUTH"}
        settings: VaultSettings = settings_from_environment(environ)
        patient = replace(settings, timeout_s=_PATIENT_TIMEOUT_S, deadline_s=_PATIENT_DEADLINE_S)
        return VaultConnection(patient, login=NoLogin())

    def seal(self) -> VaultSeal:
        return VaultSeal(self.without_login())

    def _environ(self) -> dict[str, str]:
        given = {
            "SEALWIRE_VAULT_ADDRESS": self.address,
            "SEALWIRE_VAULT_CA": self.ca,
            "SEALWIRE_VAULT_NAMESPACE": self.namespace,
            "SEALWIRE_VAULT_TOKEN_FILE": self.token_file,
            "SEALWIRE_VAULT_AUTH": self.token_file and AuthMethod.TOKEN_FILE.value,
        }
        return {**os.environ, **{name: str(value) for name, value in given.items() if value}}


# Gives the command `server: ServerOptions`.
server_options = settings(
    "server",
    ServerOptions,
    click.option("--address", help="https://host:8200; else VAULT_ADDR."),
    click.option("--ca", type=PATH, help="CA of the server; else VAULT_CACERT."),
    click.option("--namespace", help="Namespace on the server; else VAULT_NAMESPACE."),
    click.option(
        "--token-file",
        type=PATH,
        help="File with the token; else SEALWIRE_VAULT_AUTH, VAULT_TOKEN, or a prompt.",
    ),
)


def _named(  # noqa: PLR0913 - one parameter an option
    *,
    prefix: str,
    transit_mount: str,
    kv_mount: str,
    auth: str,
    auth_mount: str | None,
    kubernetes_host: str | None,
    kubernetes_ca: Path | None,
    kubernetes_namespace: str,
    with_contexts: bool,
) -> SetupSettings:
    login: AppRole | Kubernetes
    if auth == "approle":
        login = AppRole(auth_mount or auth)
    elif kubernetes_host is None or kubernetes_ca is None:
        raise click.UsageError("--auth kubernetes needs --kubernetes-host and --kubernetes-ca")
    else:
        login = read_kubernetes(kubernetes_host, kubernetes_ca, auth_mount or auth, kubernetes_namespace)
    return SetupSettings(prefix, transit_mount, kv_mount, auth=login, with_contexts=with_contexts)


_USUAL = SetupSettings()

# Gives the command `settings: SetupSettings`: what things are called on the server.
names_options = settings(
    "settings",
    _named,
    click.option("--prefix", default=_USUAL.prefix, show_default=True, help="Begins every name."),
    click.option("--transit-mount", default=_USUAL.transit_mount, show_default=True),
    click.option(
        "--kv-mount", default=_USUAL.kv_mount, show_default=True, help="Key-value storage, version 2."
    ),
    click.option(
        "--auth", type=click.Choice(["approle", "kubernetes"]), default="approle", show_default=True
    ),
    click.option("--auth-mount", help="Where the login is; its own name unless given."),
    click.option("--kubernetes-host", help="The API server as the Vault server reaches it."),
    click.option("--kubernetes-ca", type=PATH, help="The API server's CA."),
    click.option("--kubernetes-namespace", default="sealwire", show_default=True),
    click.option(
        "--contexts", "with_contexts", is_flag=True, help="Keys of contexts lie there too: PREFIX/contexts."
    ),
)


def _wished(
    settings: SetupSettings, rotation_period: str | None, bound_cidrs: tuple[str, ...], audit_file: str | None
) -> SetupSettings:
    auth = settings.auth
    if isinstance(auth, AppRole):
        auth = replace(auth, bound_cidrs=bound_cidrs)
    period_s = None if rotation_period is None else parse_period(rotation_period)
    return replace(settings, rotation_s=period_s, audit_file=audit_file, auth=auth)


# Below `names_options`: adds to `settings` what is wanted beyond names.
wish_options = settings(
    "settings",
    _wished,
    click.option(
        "--rotation-period", metavar="90d", help="How often keys are made new. Default: a quarter at most."
    ),
    click.option(
        "--bound-cidr", "bound_cidrs", multiple=True, help="AppRole: log in from this network only."
    ),
    click.option("--audit-file", help="Enable an audit log at this path of the server, if it has none."),
)

# Gives the command `role: Role`.
role_argument = click.argument(
    "role", type=click.Choice([role.value for role in Role]), callback=lambda _, __, value: Role(value)
)
