"""A policy file."""

import json
from pathlib import Path

import pytest

from sealwire.cli.exit_codes import EX_CONFIG, EX_NOPERM, EX_UNAVAILABLE, exit_code
from sealwire.files.errors import SourceError
from tests.cli.runs import Outcome, Run


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy file."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


BEGINS_WITH = ("policy",)


POLICY = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  ward: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, ward: ward, notes: notes}
  tenant_*.patients: {nhs_number: nhs}
"""


def explain(run: Run, policy: Path, text: str, *more: str) -> Outcome:
    """`sealwire policy explain` with JSON output."""
    return run("explain", policy, text, "--db", "clinic", "--json", *more)


ROLES = """\
roles:
  clerk:
    users: [reception@admin]
    documents_per_hour: 2000
    comparisons_per_hour: 100
    classes:
      nhs: {read: {mask: last4}, filter: true}
      ward: {read: clear}
  emergency:
    users: [reception@admin]
    break_glass: true
    delete: true
    classes: {"*": {read: clear}}
  researcher:
    certificates: ["CN=lab"]
    issuer: CN=Clinic CA
    purposes: [research]
    classes: {ward: {read: ciphertext, filter: true, write: true}}
"""
FIND = '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
CLERK = ("--as", "reception@admin")
LAB = ("--certificate", "CN=lab", "--issuer", "CN=Clinic CA")


@pytest.fixture
def roles(policy: Path) -> Path:
    """A policy with roles."""
    policy.write_text(POLICY + ROLES)
    return policy


def test_a_check_says_what_is_only_observed(policy: Path, run: Run) -> None:
    assert "NOT PROTECTED" not in run("check", policy).out
    policy.write_text(POLICY + "observe: [clinic.patients]\n")
    done = run("check", policy)
    assert (done.code, "NOT PROTECTED, only observed: clinic.patients" in done.out) == (0, True)


def test_rights_are_shown_by_class(roles: Path, run: Run) -> None:
    result = run("access", roles, *CLERK, "--json", code=0)
    assert json.loads(result.out) == {
        "roles": ["clerk"],
        "lacks": "",
        "delete": False,
        "documents_per_hour": 2000,
        "comparisons_per_hour": 100,
        "breaks_glass": False,
        "classes": [
            {"class": "nhs", "read": "masked (last4)", "filter": "yes", "write": "no"},
            {"class": "ward", "read": "clear", "filter": "no", "write": "no"},
            {"class": "notes", "read": "denied", "filter": "no", "write": "no"},
        ],
    }
    shown = run("access", roles, *CLERK).out
    assert "roles: clerk" in shown
    assert "2000 documents an hour" in shown
    assert "100 comparisons an hour" in shown


def test_a_command_that_would_pass(roles: Path, run: Run) -> None:
    result = run("access", roles, *CLERK, "--db", "clinic", "--json", FIND)
    assert (result.code, json.loads(result.out)["passes"]) == (0, True)
    shown = run("access", roles, *CLERK, "--db", "clinic", "-", stdin=FIND)
    assert "passes" in shown.out
    assert "9434765919" not in shown.out + result.out


@pytest.mark.parametrize(
    ("command", "path", "rule"),
    [
        ('{"find": "patients", "filter": {"ward": "3"}}', "ward", "filtering"),
        ('{"insert": "patients", "documents": [{"ward": "3"}]}', "ward", "writing"),
        ('{"delete": "patients", "deletes": [{"q": {}, "limit": 0}]}', "clinic.patients", "deleting"),
    ],
)
def test_a_command_that_would_be_refused(roles: Path, run: Run, command: str, path: str, rule: str) -> None:
    result = run("access", roles, *CLERK, "--db", "clinic", "--json", command, code=1)
    assert json.loads(result.out) == {
        "refused": "role",
        "path": path,
        "rule": rule,
        "code": 13,
        "codeName": "Unauthorized",
    }
    assert "[role]" in run("access", roles, *CLERK, "--db", "clinic", command).out


def test_the_glass_is_broken_by_an_option_or_by_the_commands_comment(roles: Path, run: Run) -> None:
    by_option = run("access", roles, *CLERK, "--break-glass", "fire")
    assert "breaks the glass" in by_option.out
    assert "deletes documents" in by_option.out
    commented = '{"find": "patients", "comment": {"sealwire": {"breakGlass": "fire"}}}'
    found = run("access", roles, *CLERK, "--db", "clinic", "--json", commented)
    assert json.loads(found.out)["roles"] == ["clerk", "emergency"]


def test_a_certificate_and_a_purpose_may_be_what_is_missing(roles: Path, run: Run) -> None:
    result = run("access", roles, *LAB[:2], "--issuer", "CN=Supplier CA", "--json")
    assert (result.code, json.loads(result.out)["lacks"]) == (1, "a role")
    result = run("access", roles, *LAB, "--json")
    assert (result.code, json.loads(result.out)["lacks"]) == (1, "a purpose")
    assert "without a purpose no role counts" in run("access", roles, *LAB).out
    found = run("access", roles, *LAB, "--purpose", "research", "--json")
    assert json.loads(found.out)["classes"][1] == {
        "class": "ward",
        "read": "ciphertext",
        "filter": "yes",
        "write": "yes",
    }


def test_who_has_no_role(roles: Path, run: Run) -> None:
    result = run("access", roles, "--as", "bob@admin")
    assert (result.code, result.out.strip()) == (
        1,
        "without a role no role counts; what is not protected passes",
    )
    assert run("access", roles, "--as", "bob@admin", "--db", "clinic", '{"find": "wards"}').code == 0


@pytest.mark.parametrize("user", ["", "reception", "@admin", "reception@"])
def test_a_user_has_a_name_and_a_database(roles: Path, run: Run, user: str) -> None:
    assert run("access", roles, "--as", user).code == 2


def test_a_policy_without_roles(policy: Path, run: Run) -> None:
    assert "no roles" in run("access", policy, *CLERK).out
    assert json.loads(run("access", policy, *CLERK, "--json").out) == {"roles": None}


def test_what_is_no_command_is_an_error_of_use(roles: Path, run: Run) -> None:
    assert run("access", roles, *CLERK, "{").code == 2
    assert run("access", roles, *CLERK, '{"find": 1, "find": 2, "$db": 5}').code in (1, 2)


def test_check_lists_what_is_covered(policy: Path, run: Run) -> None:
    result = run("check", policy, "--json", code=0)
    first, *rest = json.loads(result.out)
    assert first == {
        "namespace": "clinic.patients",
        "path": "nhs_number",
        "class": "nhs",
        "mode": "deterministic",
    }
    assert [row["namespace"] for row in rest] == ["clinic.patients", "clinic.patients", "tenant_*.patients"]
    assert "4 covered paths, 3 classes" in run("check", policy).out


@pytest.mark.parametrize(
    "words", [("check",), ("lint",), ("explain", '{"ping": 1}')], ids=lambda words: words[0]
)
def test_a_bad_policy_is_one_line_a_hint_and_the_exit_code_for_configuration(
    policy: Path, run: Run, words: tuple[str, ...]
) -> None:
    policy.write_text(POLICY.replace("mode: random", "mode: randm"))
    error, hint = run(words[0], policy, *words[1:], code=EX_CONFIG).err.splitlines()
    assert error.startswith(f"sealwire: error: {policy}:5:17: ")
    assert hint == "sealwire: hint: did you mean 'random'?"
    assert exit_code(SourceError("p", 1, 1, "x")) == EX_CONFIG


def test_a_policy_that_is_not_there_is_a_usage_error(tmp_path: Path, run: Run) -> None:
    assert run("check", tmp_path / "none.yaml").code == 2
    assert run("check", tmp_path).code == 2


def test_lint_warns_and_fails_only_when_told_to(policy: Path, run: Run) -> None:
    result = run("lint", policy, "--json", code=0)
    assert [(row["rule"], row["where"]) for row in json.loads(result.out)] == [
        ("few-values", "clinic.patients ward")
    ]
    assert run("lint", policy).code == 0
    assert run("lint", policy, "--strict").code == 1
    policy.write_text(POLICY.replace("ward: ward", "room: ward"))
    assert run("lint", policy, "--strict").code == 0


def test_lint_says_that_each_proxy_grants_the_whole_of_a_limit(policy: Path, run: Run) -> None:
    role = "roles: {desk: {users: [a@b], %s, classes: {'*': {read: clear}}}}\n"
    policy.write_text(POLICY.replace("ward: ward", "room: ward") + role % "delete: true")
    assert "each proxy" not in run("lint", policy).out
    policy.write_text(POLICY.replace("ward: ward", "room: ward") + role % "documents_per_hour: 9")
    result = run("lint", policy, "--strict", code=0)
    assert "each proxy" in result.out
    assert json.loads(run("lint", policy, "--json").out) == []


MISTAKEN = """\
version: 1
clases: # wrong
  nhs: {mode: deterministic, type: string, colour: red, shape: round} # wrong wrong
  ward: {mode: determined, type: strin} # wrong wrong
  1ward: {mode: deterministic} # wrong wrong
  notes: {mod: random, type: string} # wrong wrong
  born:
    mode: deterministic
    type: date
    range: {unit: week, form: 1900-01-01, to: 5, low: 1, high: 2} # wrong wrong wrong wrong wrong
  visits:
    mode: deterministic
    type: int
    range: {from: 9, to: 1, max_values: 0} # wrong wrong
    key: {per: a..b} # wrong wrong
  fine: {mode: random}
collections:
  clinic.patients:
    nhs_number: nhs
    ward: wart # wrong
    name.0: fine # wrong
    notes: {a: b} # wrong
  clinic:
    a: nhs # wrong
    $b: nhs # wrong
  clinic.visits: {patient.nhs: nhs, patient: fine} # wrong
  clinic.fine: {nhs_number: fine}
plain: [clinic, clinic.fine, clinic.patients, 5] # wrong wrong wrong wrong
allow_commands: [1, find things, ping] # wrong wrong
subjects:
  class: nsh # wrong
  links:
    clinic.letters.nhs: "clinic" # wrong
    clinic.fine.nhs_number: clinic.elsewhere.nhs # wrong
    clinic.bills.nhs: clinic.elsewhere.nhs
  other: 1 # wrong
roles:
  clerk:
    users: [nobody, a@b] # wrong
    clases: {nhs: {read: clean, filter: 1}, nsh: {raed: clear}} # wrong wrong wrong wrong wrong
    delete: 1 # wrong
    purposes: [] # wrong
  desk: {users: [a@b], documents_per_hour: 0} # wrong wrong
extra: 1 # wrong
besides: 1 # wrong
observe: [clinic.nowhere, clinic] # wrong
"""


def test_every_mistake_has_its_line_and_hint(policy: Path, run: Run) -> None:
    policy.write_text(MISTAKEN)
    told = run("check", policy, code=EX_CONFIG).err.splitlines()
    assert {line.split(": ")[1] for line in told[::2]} == {"error"}
    assert {line.split(": ")[1] for line in told[1::2]} == {"hint"}
    lines = [int(line.split(":")[3]) for line in told[::2]]
    wrong = [n for n, line in enumerate(MISTAKEN.splitlines(), 1) for _ in range(line.count("wrong"))]
    assert lines == wrong


def test_explain_says_what_would_be_encrypted_and_never_the_value(policy: Path, run: Run) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": "9434765919"}}'
    result = explain(run, policy, text)
    assert result.code == 0
    assert json.loads(result.out) == {
        "command": "find",
        "namespace": "clinic.patients",
        "protected": True,
        "encrypted": [{"path": "nhs_number", "class": "nhs", "mode": "deterministic", "use": "match"}],
    }
    shown = run("explain", policy, text, "--db", "clinic").out
    assert "nhs_number" in shown
    assert "9434765919" not in shown + result.out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"find": "wards"}', "touches no protected collection"),
        ('{"find": "patients", "filter": {}}', "no covered value"),
    ],
)
def test_explain_says_when_nothing_is_encrypted(policy: Path, text: str, expected: str, run: Run) -> None:
    result = run("explain", policy, text, "--db", "clinic")
    assert (result.code, expected in result.out) == (0, True)


def test_explain_reads_standard_input_and_the_database_of_the_command(policy: Path, run: Run) -> None:
    text = '{"count": "patients", "query": {"notes": null}, "$db": "clinic"}'
    assert run("explain", policy, "-", stdin=text).code == 0
    other = run("explain", policy, "-", "--db", "clinic", "--json", stdin=text.replace("clinic", "other"))
    assert json.loads(other.out)["namespace"] == "other.patients"


def test_explain_shows_a_refusal_with_its_code(policy: Path, run: Run) -> None:
    text = '{"find": "patients", "filter": {"nhs_number": {"$gt": "943"}}}'
    result = explain(run, policy, text)
    assert result.code == 1
    assert json.loads(result.out) == {
        "refused": "range",
        "path": "nhs_number",
        "rule": "$gt",
        "code": 238,
        "codeName": "NotImplemented",
    }
    shown = run("explain", policy, text, "--db", "clinic", code=1)
    assert shown.out.startswith("refused with 238 NotImplemented: ")
    assert "943" not in shown.out


def test_explain_without_a_database_asks_for_one(policy: Path, run: Run) -> None:
    result = run("explain", policy, '{"find": "patients"}', code=2)
    assert "--db" in result.err


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", "5", "null", "find", "{find: 1}", '"x"'),
        '{"find": "x", "filter": {"_id": {"$oid": "x"}}}',
        '{"find": "x", "filter": {"n": {"$numberDecimal": "x"}}}',
        '{"find": "x", "filter": {"n": {"$date": "x"}}}',
        '{"find": "x", "filter": {"n": {"$binary": {"base64": "!", "subType": "x"}}}}',
        '{"find": "x", "filter": {"n": {"$regularExpression": {}}}}',
        '{"find": "x", "filter": {"n": {"$timestamp": 5}}}',
        '{"find": "x", "filter": {"n": 99999999999999999999999}}',
        '{"find": "x", "filter": {"n\\u0000": 1}}',
        '{"find": "x", "filter": {"n": "\\ud800"}}',
        '{"find": "x", "filter": ' + '{"a":' * 5000 + "1" + "}" * 5001,
    ],
)
def test_text_that_is_no_command_is_a_usage_error(policy: Path, text: str, run: Run) -> None:
    result = explain(run, policy, text)
    assert result.code == 2


def log_line(command: object, *, kind: str = "command", application: str = "desk", **more: object) -> str:
    """A line of mongod's log about a slow command."""
    attributes = {"type": kind, "ns": "clinic.patients", "appName": application, "command": command}
    return json.dumps({"c": "COMMAND", "msg": "Slow query", "attr": attributes, **more}) + "\n"


def test_recorded_commands_count_by_shape_without_values(policy: Path, run: Run, tmp_path: Path) -> None:
    log = tmp_path / "mongod.log"
    log.write_text(
        log_line({"find": "patients", "filter": {"nhs_number": "9434765919"}, "$db": "clinic"})
        + log_line({"find": "patients", "filter": {"nhs_number": "9434765870"}, "$db": "clinic"})
        + log_line({"q": {"nhs_number": {"$gt": "9434765919"}}, "limit": 1}, kind="remove", application="")
        + log_line({"find": "patients", "filter": {"notes": "9434765919"}, "$db": "clinic"})
        + log_line({"find": "patients", "$db": "clinic"}, truncated={"command": {}})
        + log_line({"find": "patients", "filter": {"a\0b": 1}, "$db": "clinic"})
    )
    result = run("explain", policy, "--from-profile", log, "--json", code=1)
    answer = json.loads(result.out)
    assert answer["counts"] == {"refused": 2, "not-judged": 2, "two-steps": 0, "answered": 2}
    place = {"namespace": "clinic.patients"}
    assert {
        "command": "delete",
        **place,
        "verdict": "refused",
        "reason": "range",
        "operator": "$gt",
        "path": "nhs_number",
        "application": "",
        "count": 1,
    } in answer["shapes"]
    assert answer["shapes"][-1] == {
        "command": "find",
        **place,
        "verdict": "answered",
        "reason": "",
        "operator": "",
        "path": "",
        "application": "desk",
        "count": 2,
    }
    shown = run("explain", policy, "--from-profile", log)
    assert "2 refused, 2 not-judged, 0 two-steps, 2 answered" in shown.out
    assert "943476" not in result.out + shown.out


def test_recorded_commands_that_pass_are_yes_and_none_is_no(policy: Path, run: Run, tmp_path: Path) -> None:
    log = tmp_path / "mongod.log"
    log.write_text(log_line({"ping": 1, "$db": "clinic"}))
    assert run("explain", policy, "--from-profile", log).code == 0
    log.write_text(json.dumps({"msg": "Connection accepted", "attr": {}}))
    nothing = run("explain", policy, "--from-profile", log)
    assert (nothing.code, "no command was recorded" in nothing.out) == (1, True)


def test_shapes_beyond_the_bound_are_counted_together(
    policy: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.cli.explain._MOST_SHAPES", 2)
    log = tmp_path / "mongod.log"
    log.write_text("".join(log_line({name: "visits", "$db": "clinic"}) for name in ("count", "find", "ping")))
    answer = json.loads(run("explain", policy, "--from-profile", log, "--json").out)
    assert {each["command"]: each["count"] for each in answer["shapes"]} == {
        "count": 1,
        "find": 1,
        "other": 1,
    }


def test_a_record_that_cannot_be_read_is_told(policy: Path, run: Run, tmp_path: Path) -> None:
    assert run("explain", policy, "--from-profile", tmp_path / "none").code == EX_CONFIG
    damaged = tmp_path / "system.profile.bson"
    damaged.write_bytes(b"\x99\x00\x00\x00damaged")
    assert run("explain", policy, "--from-profile", damaged).code == EX_CONFIG


def test_a_server_is_named_without_a_password_or_in_a_private_file(
    policy: Path, run: Run, tmp_path: Path
) -> None:
    typed = run("explain", policy, "--from-profile", "mongodb://ann:secret@127.0.0.1:1/")
    assert (typed.code, "secret" in typed.err) == (EX_CONFIG, False)
    uri = tmp_path / "server.uri"
    uri.write_text("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1")
    uri.chmod(0o644)
    assert run("explain", policy, "--from-profile", uri).code == EX_NOPERM
    uri.chmod(0o600)
    assert run("explain", policy, "--from-profile", uri).code == EX_UNAVAILABLE


@pytest.mark.parametrize("more", [[], ['{"ping": 1}', "--from-profile", "x"]])
def test_explain_takes_one_command_or_a_record(policy: Path, run: Run, more: list[str]) -> None:
    assert run("explain", policy, *more).code == 2


def test_each_subcommand_explains_itself_with_an_example(run: Run) -> None:
    for name in ("check", "lint", "explain", "enforce"):
        result = run(name, "--help", code=0)
        assert "Example" in result.out
