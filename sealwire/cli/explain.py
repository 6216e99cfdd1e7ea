"""`sealwire policy explain` and `access`: what a policy does to commands, and who may do what."""

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from bson.errors import BSONError

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options import json_option, read_uri, refuse_typed_password
from sealwire.cli.output import print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.cli.verdicts import PlannedOutcome, encoded_command, encoded_document, invalid_command, judge
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PolicySet
from sealwire.policies.planning.arguments import one_line
from sealwire.policies.planning.plan import ListPlace, Plan, RangeEdit, ValueEdit
from sealwire.policies.roles.role import Claim, Level, Rights
from sealwire.proxy.server.errors import FileProblem, StartReason
from sealwire.proxy.session.login.caller import NOTHING_STATED, Stated, stated_in
from sealwire.wire.errors import BsonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealwire.sidecars.recorded import RecordedCommand


def _command(source: str, database: str | None) -> bytes:
    return encoded_command(sys.stdin.read() if source == "-" else source, database)


def show_refusal(refusal: Refusal, *, as_json: bool) -> None:
    """Print why a command is refused."""
    code = refusal.error_code
    if as_json:
        answer = {"refused": refusal.reason.value, "path": refusal.path, "rule": refusal.rule}
        click.echo(json.dumps(answer | {"code": code.code, "codeName": code.code_name}))
    else:
        click.echo(f"refused with {code.code} {code.code_name}: {refusal.message}")


@click.command()
@policy_argument
@click.argument("source", metavar="[COMMAND]", required=False)
@click.option("--db", "database", help="Database, if COMMAND has no $db; or the one whose profiler to read.")
@click.option(
    "--from-profile",
    "profile",
    metavar="FILE|URI",
    help="Commands that a server has recorded, in its profiler's collection or in its log.",
)
@json_option
def explain(
    policy: Path, source: str | None, database: str | None, profile: str | None, as_json: bool
) -> None:
    """Show what POLICY does to COMMAND (extended JSON, or - for standard input).

    The command needs no keys and no server. With --from-profile it counts what POLICY would do to recorded
    commands, by shape and without values. URI is the server's; FILE contains it and is open to its owner
    only, or is a dump or an export of system.profile, or mongod's log.

    Exit code 1 if a command would be refused, or none was recorded.

    \b
    Examples:
      sealwire policy explain policy.yaml --db clinic \\
          '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
      echo '{"count": "visits", "query": {"mrn": {"$gt": "1"}}, "$db": "a"}' |
          sealwire policy explain policy.yaml -
      sealwire policy explain policy.yaml --from-profile server.uri --db clinic
      sealwire policy explain policy.yaml --from-profile /var/log/mongodb/mongod.log
    """
    if (source is None) == (profile is None):
        raise click.UsageError("give a COMMAND, or --from-profile")
    policies = read_policy(policy, may_observe=True)
    if profile is not None:
        _explain_recorded(policies, profile, database, as_json=as_json)
        return
    try:
        verdict = judge(policies, _command(source or "", database))
    except BsonError as error:
        raise invalid_command(error) from None
    if verdict.refusal is not None:
        show_refusal(verdict.refusal, as_json=as_json)
        sys.exit(EX_NO)
    if verdict.plan is not None:
        _show_plan(verdict.plan, as_json)


@dataclass(frozen=True, slots=True)
class _CommandShape:
    """What commands have in common that are told apart by their values alone."""

    command: str
    namespace: str
    verdict: str
    reason: str = ""
    operator: str = ""
    path: str = ""
    application: str = ""


_SCHEMES: Final = ("mongodb://", "mongodb+srv://")
_NOT_JUDGED: Final = "not-judged"
_MOST_SHAPES: Final = 10_000
_ORDER: Final = (
    PlannedOutcome.REFUSED.value,
    _NOT_JUDGED,
    PlannedOutcome.TWO_STEPS.value,
    PlannedOutcome.ANSWERED.value,
)


def _explain_recorded(policies: PolicySet, profile: str, database: str | None, *, as_json: bool) -> None:
    if profile.startswith(_SCHEMES):
        refuse_typed_password("profile", profile)
    shapes = _counted(_shape(policies, each) for each in _recorded(profile, database))
    counts = dict.fromkeys(_ORDER, 0)
    for shape, count in shapes.items():
        counts[shape.verdict] += count
    ranked = sorted(shapes.items(), key=lambda each: (_ORDER.index(each[0].verdict), -each[1]))
    if as_json:
        listed = [{**asdict(shape), "count": count} for shape, count in ranked]
        print_json({"counts": counts, "shapes": listed})
    else:
        columns = ("count", "command", "verdict", "application")
        show_table(columns, (_shape_row(shape, count) for shape, count in ranked))
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
        if not shapes:
            click.echo(
                "no command was recorded: db.setProfilingLevel(2) records each, and costs the server time"
            )
    sys.exit(EX_NO if counts[PlannedOutcome.REFUSED.value] or not shapes else 0)


def _counted(found: "Iterable[_CommandShape]") -> Counter[_CommandShape]:
    """Names that clients have chosen may make each command another shape: so there is a bound."""
    shapes: Counter[_CommandShape] = Counter()
    for shape in found:
        is_known = shape in shapes or len(shapes) < _MOST_SHAPES
        shapes[shape if is_known else _CommandShape("other", "", shape.verdict)] += 1
    return shapes


def _recorded(profile: str, database: str | None) -> "Iterator[RecordedCommand]":
    """Raises as `connected` does, FileProblem."""
    # a single command needs no driver
    from sealwire.sidecars.direct import connected  # noqa: PLC0415
    from sealwire.sidecars.recorded import RIGHTS, recorded_in, recorded_on  # noqa: PLC0415

    uri, path = profile, Path(profile)
    try:
        if not profile.startswith(_SCHEMES):
            with path.open("rb") as file:
                is_uri = file.read(20).startswith(tuple(map(str.encode, _SCHEMES)))
            if not is_uri:
                yield from recorded_in(path)
                return
            uri = read_uri(path)
    except OSError as error:
        text = f"{path}: cannot be read: {error.strerror}"
        raise FileProblem(StartReason.FILE_MISSING, text, "correct the path") from None
    except BSONError:
        text = f"{path}: a record is damaged, or the file is compressed"
        raise FileProblem(StartReason.FILE_MISSING, text, "export it again; unpack it first") from None
    with connected(uri, RIGHTS) as client:
        yield from recorded_on(client, database)


def _shape(policies: PolicySet, found: "RecordedCommand") -> _CommandShape:
    shape = _CommandShape(
        found.name, found.namespace, _NOT_JUDGED, found.problem, application=found.application
    )
    if found.command is None:
        return shape
    try:
        verdict = judge(policies, encoded_document(found.command))
    except (ValueError, BsonError):
        return replace(shape, reason="no command that a server reads")
    if verdict.refusal is None:
        return replace(shape, verdict=verdict.outcome.value, reason="")
    return replace(
        shape,
        verdict=verdict.outcome.value,
        reason=verdict.reason,
        operator="" if verdict.refusal.rule == found.name else one_line(verdict.refusal.rule),
        path=verdict.path,
    )


def _shape_row(shape: _CommandShape, count: int) -> tuple[str, ...]:
    why = " ".join(each for each in (shape.reason, shape.operator, shape.path and f"at {shape.path}") if each)
    said = f"{shape.verdict}: {why}" if why else shape.verdict
    return str(count), f"{shape.command} {shape.namespace}", said, shape.application


def _use(edit: ValueEdit | RangeEdit) -> str:
    use = edit.use.value
    if not isinstance(edit, RangeEdit):
        return use
    if edit.outside is not None or (edit.compared is not None and edit.compared.is_negated):
        return f"{use} $nin of the stored values that do not satisfy it"
    if edit.place is ListPlace.FIRST:
        return f"{use} the first of the stored values"
    if edit.ranks is not None:
        return f"{use} ranks of the stored values"
    if isinstance(edit.listed, tuple):
        return f"{use} $in of the stored values that satisfy it"
    return f"{use} $in of {len(edit.listed)} values"


def _show_plan(plan: Plan, as_json: bool) -> None:
    columns = ("path", "class", "mode", "use")
    rows = [
        (edit.node.path, edit.field_class.name, edit.field_class.mode.value, _use(edit))
        for edit in plan.edits
    ]
    if as_json:
        values = [dict(zip(columns, row, strict=True)) for row in rows]
        document = {"command": plan.command, "namespace": plan.namespace, "protected": plan.protected}
        click.echo(json.dumps(document | {"encrypted": values}))
    elif not plan.protected:
        click.echo(f"{plan.command}: touches no protected collection; passes untouched")
    elif not rows:
        click.echo(f"{plan.command} on {plan.namespace}: passes as it is; no covered value in it")
    else:
        show_table(columns, rows, title=f"{plan.command} on {plan.namespace}")


_RIGHTS_COLUMNS = ("class", "read", "filter", "write")


@click.command()
@policy_argument
@click.argument("source", metavar="[COMMAND]", required=False)
@click.option("--as", "users", multiple=True, metavar="USER@DATABASE", help="Who has logged in.")
@click.option("--certificate", default="", help="The subject of a verified certificate, such as CN=desk.")
@click.option("--issuer", default="", help="The authority that has signed it, such as CN=Clinic CA.")
@click.option("--purpose", default="", help="The purpose that the command states.")
@click.option("--break-glass", "glass", default="", help="The reason that the command gives.")
@click.option("--db", "database", help="Database, when the command has no $db.")
@json_option
def access(  # noqa: PLR0913, PLR0917 - one for each option
    policy: Path,
    source: str | None,
    users: tuple[str, ...],
    certificate: str,
    issuer: str,
    purpose: str,
    glass: str,
    database: str | None,
    as_json: bool,
) -> None:
    """Show what a client may see, filter by and write by the roles of POLICY.

    With a COMMAND (extended JSON, or - for standard input) also whether that would pass. Needs no keys and no
    server. Exit code 1 when the command would be refused, or the client has no role.

    \b
    Examples:
      sealwire policy access policy.yaml --as reception@admin
      sealwire policy access policy.yaml --as reception@admin --db clinic \\
          '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
    """
    for user in users:
        name, _, where = user.rpartition("@")
        if not name or not where:
            raise click.BadParameter("write USER@DATABASE, as the user logs in", param_hint="--as")
    policies = read_policy(policy, may_observe=True)
    if policies.roles is None:
        _show_no_roles(as_json)
        return
    encoded = None if source is None else _command(source, database)
    try:
        stated = NOTHING_STATED if encoded is None else stated_in(encoded, 0)
        stated = Stated(purpose or stated.purpose, glass or stated.glass)
        claim = Claim(users, certificate, stated.purpose, bool(stated.glass.strip()), issuer)
        rights = policies.roles.rights(claim)
        if encoded is not None:
            from sealwire.policies.commands.planner import plan_command  # noqa: PLC0415 - see `judge`

            plan_command(policies, encoded, 0, rights=rights)
    except Refusal as refusal:
        show_refusal(refusal, as_json=as_json)
        sys.exit(EX_NO)
    except BsonError as error:
        raise invalid_command(error) from None
    _show_rights(policies, rights, as_json=as_json, passes=encoded is not None)
    if rights.is_empty and encoded is None:
        sys.exit(EX_NO)


def _show_no_roles(as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"roles": None}))
    else:
        click.echo("the policy has no roles: everybody whom the server lets in may do everything")


def _show_rights(policies: PolicySet, rights: Rights, *, as_json: bool, passes: bool) -> None:
    rows = [_row(name, rights) for name in policies.classes]
    if as_json:
        answer: dict[str, Any] = {
            "roles": list(rights.roles),
            "lacks": rights.lacks,
            "delete": rights.deletes,
            "documents_per_hour": rights.documents_per_hour,
            "comparisons_per_hour": rights.comparisons_per_hour,
            "breaks_glass": rights.is_glass_broken,
            "classes": [dict(zip(_RIGHTS_COLUMNS, row, strict=True)) for row in rows],
        }
        click.echo(json.dumps(answer | ({"passes": True} if passes else {})))
        return
    if rights.is_empty:
        click.echo(f"without {rights.lacks} no role counts; what is not protected passes")
        return
    if passes:
        click.echo("passes; values in the reply are shown as below, and denied ones withhold it")
    show_table(_RIGHTS_COLUMNS, rows, title=f"roles: {', '.join(rights.roles)}")
    if rights.documents_per_hour is not None:
        click.echo(f"{rights.documents_per_hour} documents an hour")
    if rights.comparisons_per_hour is not None:
        click.echo(f"{rights.comparisons_per_hour} comparisons an hour")
    if rights.deletes:
        click.echo("deletes documents whatever they hold")
    if rights.is_glass_broken:
        click.echo("breaks the glass: each such command is on record")


def _row(name: str, rights: Rights) -> tuple[str, str, str, str]:
    found = rights.access(name)
    read = found.read.level.name.lower()
    if found.read.level is Level.MASKED:
        read = f"masked ({found.read.mask.value})"
    return name, read, "yes" if found.filters else "no", "yes" if found.writes else "no"
