"""Options that say where the Vault server is, who asks, and what things are called on it."""

import os
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from sealwire.keys.vault.admin import VaultAdmin
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.login import TOKEN_VARIABLES
from sealwire.keys.vault.seal import NoLogin, VaultSeal
from sealwire.keys.vault.settings import AuthMethod, VaultSettings, settings_from_environment
from sealwire.sidecars.vault_setup.errors import SetupReason, UnusableSetting
from sealwire.sidecars.vault_setup.settings import AppRole, Kubernetes, SetupSettings, parse_period

Command = Callable[..., None]

# Making the first keys of a slow server may take long, and cannot be asked for a second time.
_PATIENT_TIMEOUT_S = 60.0
_PATIENT_DEADLINE_S = 180.0
_MAX_PEM_BYTES = 64 * 1024

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done; change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask before changing the server.")


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
        """The server's seal."""
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


def server_options(command: Command) -> Command:
    """Adds the options of the connection; `command` gets them as `server: ServerOptions`."""

    @click.option("--address", help="https://host:8200; else VAULT_ADDR.")
    @click.option("--ca", type=click.Path(path_type=Path), help="CA of the server; else VAULT_CACERT.")
    @click.option("--namespace", help="Namespace on the server; else VAULT_NAMESPACE.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="File with the token; else SEALWIRE_VAULT_AUTH, VAULT_TOKEN, or a prompt.",
    )
    @wraps(command)
    def with_server(
        *,
        address: str | None,
        ca: Path | None,
        namespace: str | None,
        token_file: Path | None,
        **options: Any,
    ) -> None:
        command(server=ServerOptions(address, ca, namespace, token_file), **options)

    return with_server


def names_options(command: Command) -> Command:
    """Adds the options that name things on the server; `command` gets them as `settings: SetupSettings`."""
    usual = SetupSettings()

    @click.option("--prefix", default=usual.prefix, show_default=True, help="Begins every name.")
    @click.option("--transit-mount", default=usual.transit_mount, show_default=True)
    @click.option(
        "--kv-mount", default=usual.kv_mount, show_default=True, help="Key-value storage, version 2."
    )
    @click.option(
        "--auth", type=click.Choice(["approle", "kubernetes"]), default="approle", show_default=True
    )
    @click.option("--auth-mount", help="Where the login is; its own name unless given.")
    @click.option("--kubernetes-host", help="The API server as the Vault server reaches it.")
    @click.option("--kubernetes-ca", type=click.Path(path_type=Path), help="The API server's CA.")
    @click.option("--kubernetes-namespace", default="sealwire", show_default=True)
    @wraps(command)
    def with_settings(
        *, prefix: str, transit_mount: str, kv_mount: str, auth: str, auth_mount: str | None, **options: Any
    ) -> None:
        kubernetes = tuple(options.pop(f"kubernetes_{name}") for name in ("host", "ca", "namespace"))
        login = (
            AppRole(auth_mount or "approle")
            if auth == "approle"
            else _kubernetes(auth_mount or "kubernetes", *kubernetes)
        )
        command(settings=SetupSettings(prefix, transit_mount, kv_mount, auth=login), **options)

    return with_settings


def wish_options(command: Command) -> Command:
    """Adds what a set-up wants beyond names, for commands below `names_options`."""

    @click.option(
        "--rotation-period", metavar="90d", help="How often keys are made new. Default: a quarter at most."
    )
    @click.option(
        "--bound-cidr", "bound_cidrs", multiple=True, help="AppRole: log in from this network only."
    )
    @click.option("--audit-file", help="Enable an audit log at this path of the server, if it has none.")
    @wraps(command)
    def with_wishes(
        *,
        settings: SetupSettings,
        rotation_period: str | None,
        bound_cidrs: tuple[str, ...],
        audit_file: str | None,
        **options: Any,
    ) -> None:
        auth = settings.auth
        if isinstance(auth, AppRole):
            auth = replace(auth, bound_cidrs=bound_cidrs)
        period_s = None if rotation_period is None else parse_period(rotation_period)
        wanted = replace(settings, rotation_s=period_s, audit_file=audit_file, auth=auth)
        command(settings=wanted, **options)

    return with_wishes


def _kubernetes(mount: str, host: str | None, ca: Path | None, namespace: str) -> Kubernetes:
    if host is None or ca is None:
        raise click.UsageError("--auth kubernetes needs --kubernetes-host and --kubernetes-ca")
    try:
        with ca.open("rb") as file:
            pem = file.read(_MAX_PEM_BYTES).decode("ascii")
        ssl.create_default_context(cadata=pem)
    except (OSError, ValueError):
        raise UnusableSetting(
            SetupReason.AUTH, f"{ca} cannot be read as a PEM certificate", "give the API server's CA"
        ) from None
    return Kubernetes(host, pem, mount, namespace)
