"""`sealwire vault`: set up Vault or OpenBao for Sealwire, check that it still is, hand out logins."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

import click
from rich.console import Console

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import PATH, json_option, settings, yes_option
from sealwire.cli.output import (
    Manner,
    answer,
    manner_options,
    print_json,
    question_console,
    show_table,
    with_bar,
)
from sealwire.cli.tasks import uninterrupted
from sealwire.keys.private_file import create_private, read_private, replace_private, require_free
from sealwire.keys.vault.admin import NoLogin, SealStatus, VaultAdmin, VaultSeal, check_wrapped
from sealwire.keys.vault.connection import TOKEN_VARIABLES, VaultConnection
from sealwire.keys.vault.settings import AuthMethod, VaultSettings, settings_from_environment
from sealwire.sidecars.errors import CannotCreate, SetupReason
from sealwire.sidecars.vault_setup import credentials as logins
from sealwire.sidecars.vault_setup import desired, plan
from sealwire.sidecars.vault_setup import initialise as first
from sealwire.sidecars.vault_setup.credentials import RoleLogin, secret_id_path, take_out
from sealwire.sidecars.vault_setup.desired import AtMost, Difference, KeyAge, PlanLine, ResourceState, ages
from sealwire.sidecars.vault_setup.initialise import MAX_SHARES, Places, parse_holders, require_unsealed
from sealwire.sidecars.vault_setup.initialise import unseal as give
from sealwire.sidecars.vault_setup.plan import Fate, Removal, plan_removal, take_away
from sealwire.sidecars.vault_setup.settings import (
    AppRole,
    Kubernetes,
    SetupSettings,
    VaultRole,
    format_period,
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
    "role",
    type=click.Choice([role.value for role in VaultRole]),
    callback=lambda _, __, value: VaultRole(value),
)


@click.command()
@server_options
@click.option("--shares", type=int, default=5, show_default=True, help="How many shares there are.")
@click.option(
    "--threshold", type=int, default=3, show_default=True, help="How many of them unseal the server."
)
@click.option(
    "--holder",
    "holders",
    multiple=True,
    help="An age recipient, or a file with a PGP public key; once for each share. Encrypts the shares.",
)
@click.option("--output", type=PATH, help="New directory for a file a share; else the terminal.")
@click.option(
    "--root-token-file",
    type=PATH,
    help="Write the root token here, in clear, for `setup`. Revoke it afterwards.",
)
@manner_options
def init(  # noqa: PLR0913 - one parameter an option
    server: ServerOptions,
    shares: int,
    threshold: int,
    holders: tuple[str, ...],
    output: Path | None,
    root_token_file: Path | None,
    *,
    manner: Manner,
) -> None:
    """Make the first keys of an empty server and hand over its unseal shares, once.

    Nobody keeps a copy. Without --holder the shares are in clear: for tests, or for holders who stand by. The
    server is unsealed at once unless PGP keys are given; then the holders do it.

    \b
    Examples:
      sealwire vault init --holder age1... --holder age1... --holder age1... --shares 3 --threshold 2
      sealwire vault init --shares 2 --threshold 2 --holder a.pgp --holder b.pgp --output shares
    """
    people = parse_holders(holders)
    if output is None and manner.as_json:
        raise click.UsageError("--json needs --output: no share is printed for programs")
    if output is None and not sys.stdout.isatty():
        text = "shares are shown on a terminal only, not where they would be kept by accident"
        raise CannotCreate(SetupReason.NOT_A_TERMINAL, text, "give --output DIRECTORY")
    first.check_numbers(shares, threshold, people)
    seal = server.seal()
    places = Places(output, root_token_file)
    sealed = None
    if manner.dry_run:
        first.require_empty(seal)
        places.prepare()
        places.give_up()
        text = f"{shares} shares would be made, {threshold} of which unseal the server"
    else:
        places.prepare()
        with uninterrupted():
            clear = root_token_file is not None
            made = places.fill(
                lambda: first.initialise(seal, shares, threshold, people, clear_root_token=clear), click.echo
            )
            secrets = len(made.shares) + (root_token_file is None)
            where = output or "the terminal; clear it when they are written down"
            click.echo(f"{secrets} secrets went to {where}. Nobody has a copy of them.", err=True)
        status = first.unseal(seal, made.clear_shares) if made.clear_shares else seal.status()
        sealed = status.sealed
        text = "sealed: the holders unseal it" if sealed else "unsealed"
    directory = None if output is None else str(output)
    document = {"shares": shares, "threshold": threshold, "output": directory, "sealed": sealed}
    manner.answer(text, document)


_MAX_SHARE_CHARACTERS = 4096


@click.command()
@server_options
@manner_options
def unseal(server: ServerOptions, manner: Manner) -> None:
    """Give one or more shares to a sealed server, one a line; asks for them on a terminal.

    Each holder may do it from his own machine: the server counts. Exit code 1 while it is still sealed. With
    --dry-run no share is taken: it only says how many are missing.

    \b
    Examples:
      sealwire vault unseal --address https://vault.example:8200
      age -d -i my.key share-2.age | sealwire vault unseal
    """
    seal = server.seal()
    shares: Iterable[str] = ()
    if not manner.dry_run:
        shares = _typed(seal.status()) if sys.stdin.isatty() else _piped()
    status = give(seal, takewhile(bool, shares))
    text = (
        f"sealed; {status.progress} of {status.threshold} shares were given" if status.sealed else "unsealed"
    )
    document = {"sealed": status.sealed, "progress": status.progress, "threshold": status.threshold}
    answer(text, document, as_json=manner.as_json)
    sys.exit(EX_NO if status.sealed else 0)


def _typed(status: SealStatus) -> Iterator[str]:
    for number in range(status.progress + 1, status.threshold + 1):
        prompt = f"Share ({number} of {status.threshold}, empty to stop)"
        yield str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)).strip()


def _piped() -> Iterator[str]:
    return (sys.stdin.readline(_MAX_SHARE_CHARACTERS).strip() for _ in range(MAX_SHARES))


@click.command()
@server_options
@names_options
@wish_options
@yes_option
@manner_options
def setup(server: ServerOptions, settings: SetupSettings, manner: Manner, *, yes: bool) -> None:
    """Make what Sealwire needs on the server: keys, policies, roles, storage, audit log.

    Compares first, and does only what is left to do, so it may be run again at any time. Things of the same
    name that differ for good are never changed. Needs an administrator's token. Exit code 1 when something is
    left that only an operator can do.

    \b
    Examples:
      sealwire vault setup --address https://vault.example:8200 --token-file root-token --dry-run
      sealwire vault setup --token-file root-token --yes --audit-file /var/log/openbao/audit.log
      sealwire vault setup --auth kubernetes --kubernetes-host https://k8s:6443 --kubernetes-ca ca.crt
    """
    require_unsealed(server.seal().status())
    admin = server.admin()
    steps = plan.compare_all(admin, settings)
    if not manner.dry_run:
        plan.require_changeable(steps)
        pending = [step for step in steps if step.request is not None]
        if pending and not yes:
            show_steps(steps, question_console())
            click.confirm(f"Change {len(pending)} things on the server?", abort=True, err=True)
        if pending:
            making = plan.carry_out(admin, steps)
            done = with_bar(making, len(steps), lambda _: "setting up", lambda step: step)
            steps = plan.verify(admin, settings, done)
    show_outcome(steps, {"dry_run": manner.dry_run}, as_json=manner.as_json)
    outstanding = plan.outstanding(steps)
    left = [step for step in outstanding if step.state is ResourceState.BY_HAND or not manner.dry_run]
    sys.exit(EX_NO if left else 0)


@click.command()
@server_options
@names_options
@wish_options
@json_option
def status(server: ServerOptions, settings: SetupSettings, *, as_json: bool) -> None:
    """Check the seal and everything that `setup` makes; exit code 1 when anything differs.

    Also when a key was not rotated in time, or the last secret id of a role ends within two weeks.
    Changes nothing. The auditor's login is enough. Give the options that `setup` was given.

    \b
    Examples:
      sealwire vault status --token-file auditor-token
      SEALWIRE_VAULT_AUTH=approle SEALWIRE_VAULT_ROLE_ID=... sealwire vault status --json
    """
    seal = server.seal().status()
    require_unsealed(seal)
    admin = server.admin()
    steps = plan.compare_all(admin, settings)
    drift = plan.outstanding(steps)
    keys = () if any(step.state is ResourceState.TO_DO for step in steps) else ages(admin, settings)
    found = () if drift else logins.logins(admin, settings)
    seal_row = {"shares": seal.shares, "threshold": seal.threshold, "unseals_itself": seal.unseals_itself}
    ends = [asdict(login) | {"ends": login.ends.isoformat()} for login in found]
    more = {"seal": seal_row, "keys": [_key_row(key) for key in keys], "logins": ends}
    show_outcome(steps, more, as_json=as_json)
    late = _late(keys, found, datetime.now(UTC))
    for line in late:
        click.echo(line, err=True)
    sys.exit(EX_NO if drift or late else 0)


def _late(keys: Sequence[KeyAge], found: Sequence[RoleLogin], now: datetime) -> list[str]:
    overdue = [key.name for key in keys if key.overdue(now)]
    soon = [login for login in found if login.ends_soon(now)]
    lines = [f"{name} should have been rotated by the server and was not" for name in overdue]
    ends = [f"{login.role} ends on {login.ends:%Y-%m-%d}: hand out a new one" for login in soon]
    return lines + [f"the last secret id of {end}" for end in ends]


def _key_row(key: KeyAge) -> dict[str, object]:
    period = format_period(key.period_s) or None
    return {"name": key.name, "version": key.version, "made": key.made.isoformat(), "rotation_period": period}


_SHORT = 40


def show_outcome(steps: Sequence[PlanLine], more: Mapping[str, object], *, as_json: bool) -> None:
    """The steps; for programs `more` as well."""
    if as_json:
        print_json({**more, "steps": [_step_row(step) for step in steps]})
    else:
        show_steps(steps, Console(markup=False))


def show_steps(steps: Sequence[PlanLine], console: Console) -> None:
    """A line a step, and what is left for an operator."""
    rows = (
        (step.kind.value, step.name, step.state.value, "\n".join(map(_in_short, step.differences)))
        for step in steps
    )
    show_table(("what", "name", "state", "differs in"), rows, console)
    for step in steps:
        if step.state is ResourceState.BY_HAND:
            console.print(f"{step.kind.value} {step.name}: {step.advice}")


def _in_short(difference: Difference) -> str:
    """The field, and what it is and should be where that is short; a policy is for `--json`."""
    found, wanted = str(difference.found), str(difference.wanted)
    if max(len(found), len(wanted)) > _SHORT:
        return difference.field
    return f"{difference.field}: {found}, wanted {wanted}"


def _step_row(step: PlanLine) -> dict[str, object]:
    return {
        "kind": step.kind.value,
        "name": step.name,
        "state": step.state.value,
        "differences": [
            # servers' values are JSON; what is only bounded is said in words
            asdict(each) | {"wanted": str(each.wanted) if isinstance(each.wanted, AtMost) else each.wanted}
            for each in step.differences
        ],
        "advice": step.advice if step.state is ResourceState.BY_HAND else "",
        "request": step.request and {"path": step.request.path, "body": dict(step.request.body)},
    }


@click.command(name="rotate-policy")
@server_options
@names_options
@click.option("--period", metavar="90d", help="Have the server rotate that often.")
@click.option("--now", is_flag=True, help="Add a key version at once.")
@click.option("--key", type=click.Choice(["proxy", "backup"]), help="Only this key; else both.")
@manner_options
def rotate_policy(
    server: ServerOptions,
    settings: SetupSettings,
    period: str | None,
    key: str | None,
    manner: Manner,
    *,
    now: bool,
) -> None:
    """Change how often the keys are rotated, or rotate them now. The rotation role may do it.

    Rotation touches no data: what older versions wrapped stays readable.

    \b
    Examples:
      sealwire vault rotate-policy --period 30d
      sealwire vault rotate-policy --now --key proxy
    """
    if period is None and not now:
        raise click.UsageError("give --period, --now, or both")
    period_s = None if period is None else parse_period(period)
    admin = server.admin()
    rows = []
    for age in desired.ages(admin, settings):
        if key is not None and age.name != f"{settings.prefix}-{key}":
            continue
        if not manner.dry_run:
            if period_s is not None:
                desired.set_period(admin, settings, age.name, period_s)
            if now:
                desired.rotate_now(admin, settings, age.name)
        period = format_period(age.period_s if period_s is None else period_s) or "never"
        rows.append({"key": age.name, "version": age.version + now, "rotation_period": period})
    title = "would become" if manner.dry_run else None
    cells = (row.values() for row in rows)
    manner.show_table(("key", "version", "rotation period"), cells, {"keys": rows}, title)


@click.command()
@server_options
@names_options
@click.option(
    "--destroy-keys", is_flag=True, help="Destroy the keys too: what they wrapped is lost for good."
)
@yes_option
@manner_options
def remove(
    server: ServerOptions, settings: SetupSettings, manner: Manner, *, destroy_keys: bool, yes: bool
) -> None:
    """Take away what `setup` made: roles, policies, and what it mounted, if empty. Keys stay.

    With --destroy-keys every value that they protect is lost, in the database and in every backup; the prefix
    has to be typed, whatever --yes says.

    \b
    Examples:
      sealwire vault remove --token-file root-token --dry-run
      sealwire vault remove --token-file root-token
    """
    admin = server.admin()
    removals = plan_removal(admin, settings, destroy_keys=destroy_keys)
    pending = [each for each in removals if each.fate is Fate.REMOVE]
    if pending and not manner.dry_run:
        if destroy_keys:
            question = f"Type {settings.prefix} to destroy its keys and all that they protect"
            if click.prompt(question, err=True) != settings.prefix:
                raise click.Abort
        elif not yes:
            show_table(_COLUMNS, map(_row, removals), question_console())
            click.confirm(f"Take away {len(pending)} things?", abort=True, err=True)
        removals = tuple(take_away(admin, settings, removals))
    rows = [_row(each) for each in removals]
    names = ("kind", "name", "fate", "reason")
    manner.show_table(_COLUMNS, rows, {"removals": [dict(zip(names, row, strict=True)) for row in rows]})


_COLUMNS = ("what", "name", "fate", "why")


def _row(removal: Removal) -> tuple[str, str, str, str]:
    return removal.resource.kind.value, removal.resource.name, removal.fate.value, removal.reason


@click.command()
@role_argument
@server_options
@names_options
@click.option(
    "--secret-id-file",
    type=PATH,
    required=True,
    help="New file for the wrapping token, which opens once. The secret id itself is not in it.",
)
@click.option("--wrap-ttl", metavar="1h", default="1h", show_default=True, help="How long it can be opened.")
@manner_options
def credentials(
    role: VaultRole,
    server: ServerOptions,
    settings: SetupSettings,
    secret_id_file: Path,
    wrap_ttl: str,
    manner: Manner,
) -> None:
    """Make a login for ROLE: prints the role id, and writes the secret id wrapped.

    Bring the file to the machine that is to log in, and run `sealwire vault unwrap` there, or let the proxy
    open it (vault.secret_id_wrapped).

    \b
    Examples:
      sealwire vault credentials proxy --token-file root-token --secret-id-file secret-id
    """
    wrap_ttl_s = parse_period(wrap_ttl)
    require_free(secret_id_file)  # before the server makes what nobody would have
    admin = server.admin()
    role_id = logins.role_id_of(admin, settings, role)
    document: dict[str, object] = {"role_id": role_id}
    done = "would be written"
    if not manner.dry_run:
        made = logins.issue(admin, settings, role, wrap_ttl_s)
        # No writer's lock: of two wrapping tokens for one path either is as good.
        create_private(secret_id_file, made.token.encode("ascii") + b"\n")
        done = f"opens once, within {made.ttl_s} s"
        document |= {"wrapping_accessor": made.accessor, "ttl_s": made.ttl_s}
    manner.answer(role_id, document)
    if not manner.as_json:
        click.echo(f"{secret_id_file}: {done}", err=True)


_MAX_TOKEN_BYTES = 4096


@click.command()
@role_argument
@server_options
@names_options
@click.option("--secret-id-file", type=PATH, required=True, help="As `credentials` wrote it.")
@manner_options
def unwrap(
    role: VaultRole, server: ServerOptions, settings: SetupSettings, secret_id_file: Path, manner: Manner
) -> None:
    """Open a wrapped secret id of ROLE; the file then holds the secret id itself, for every restart.

    Needs no login, and with --dry-run uses nothing up. That it does not open, though nobody here opened it,
    means that somebody else has.

    \b
    Examples:
      sealwire vault unwrap proxy --secret-id-file /etc/sealwire/vault-secret-id
    """
    token = read_private(secret_id_file, _MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    path, name = secret_id_path(settings, role), settings.role_name(role)
    document: dict[str, object] = {"role": name, "file": str(secret_id_file)}
    if manner.dry_run:
        document["ttl_s"] = check_wrapped(server.without_login(), token, path)
        text = f"{secret_id_file}: opens, once, within {document['ttl_s']} s of its making"
    else:
        secret_id = take_out(server.without_login(), token, path)
        replace_private(secret_id_file, secret_id.encode("ascii") + b"\n")
        text = f"{secret_id_file}: holds the secret id of {name}"
    manner.answer(text, document)


@click.command()
@role_argument
@server_options
@names_options
@yes_option
@manner_options
def revoke(
    role: VaultRole, server: ServerOptions, settings: SetupSettings, manner: Manner, *, yes: bool
) -> None:
    """End every login of ROLE at once: its secret ids and its tokens. The role stays.

    A running proxy keeps the data keys that it has in memory until keys.max_age_s: stop it as well.

    \b
    Examples:
      sealwire vault revoke proxy --token-file root-token
    """
    name = settings.role_name(role)
    admin = server.admin()
    if manner.dry_run:
        count = logins.count_secret_ids(admin, settings, role)
        text = f"{name}: {count} secret ids would end, and all tokens that were made with them"
        manner.answer(text, {"role": name, "secret_ids": count})
        return
    if not yes:
        click.confirm(f"End every login of {name}?", abort=True, err=True)
    ended = logins.revoke(admin, settings, role)
    text = f"{name}: ended {ended.secret_ids} secret ids and {ended.tokens} tokens"
    manner.answer(text, {"role": name, "secret_ids": ended.secret_ids, "tokens": ended.tokens})
