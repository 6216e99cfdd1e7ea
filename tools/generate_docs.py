"""Write pages and parts of pages from the code; `--check` only compares.

A part of a page lies between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
"""

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable
from enum import Enum
from functools import partial
from inspect import getsource
from pathlib import Path
from typing import Any

from sealwire.cli.exit_codes import EXIT_CODES
from sealwire.keys.keyring.data_key import FIRST_STATES, KEY_MOVES, KeyState
from sealwire.policies.commands.planner import MATRIX, RuleTable
from sealwire.policies.commands.write_errors import CODES, VALIDATION_FAILED
from sealwire.policies.errors import EXPLANATIONS
from sealwire.policies.planning.rules import Rule
from sealwire.proxy.server.config.settings import SETTINGS
from sealwire.proxy.session.effects import CloseReason
from sealwire.proxy.session.replies import (
    AUTHENTICATION_FAILED,
    CERTIFICATE_LOGIN,
    FAILURES,
    LOAD_BALANCER,
    LOAD_BALANCER_SUPPORT_MISMATCH,
    NAME_NOT_TOLD,
    RETRIED,
    RETRYABLE,
    TRANSACTION_LOST,
)
from sealwire.proxy.session.states import PARTS as SESSION_PARTS
from sealwire.proxy.session.states import TRANSITIONS, State
from sealwire.proxy.session.write_errors import MAX_BULK_BYTES
from sealwire.wire.errors import WireReason
from tools.house_size import sources
from tools.rooms import draw as draw_rooms

DOCS = Path(__file__).parent.parent / "docs"

_HEAD = """# Errors

Generated from the code by `python -m tools.generate_docs`. A test fails when the two differ.

"""

_CLOSES = {
    CloseReason.CLIENT_EOF: "the client closed its connection",
    CloseReason.SERVER_EOF: "the server closed its connection; drivers see a network error and retry. "
    "A warning where a command was under way",
    CloseReason.CLIENT_PROTOCOL: "the client broke the wire protocol",
    CloseReason.CLIENT_TLS: "the client began TLS, and the listener is a plaintext one (`listen.tls`)",
    CloseReason.CLIENT_SILENT: "the client sent no whole message within ten seconds",
    CloseReason.SERVER_PROTOCOL: "the server broke the wire protocol, or streamed what does not decrypt",
    CloseReason.REFUSED_UNACKNOWLEDGED: "a write without acknowledgement was refused: no reply can say so",
    CloseReason.KEYS_UNAVAILABLE: "a reply needs a key, and the keyring could not be read in time",
    CloseReason.DRAINED: "the proxy is shutting down",
    CloseReason.TOPOLOGY: "the server named a replica-set member that has no listener here; always a warning",
}


def _refusals() -> str:
    rows = [
        f"| `{reason.value}` | {code.code} {code.code_name} | {denied} | {instead} |"
        for reason, (code, denied, instead) in EXPLANATIONS.items()
    ]
    return (
        "## Refused commands\n\n"
        "`{ok: 0, code, codeName, errmsg}`, without retry labels. The errmsg names the operator and the "
        "covered path, never a value, and ends in the reason.\n\n"
        "| reason | code | why | instead |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    )


def _write_errors() -> str:
    failed = ", ".join(f"`{reason.value}`" for reason, code in CODES.items() if code == VALIDATION_FAILED)
    others = ", ".join(f"`{reason.value}`" for reason, code in CODES.items() if code != VALIDATION_FAILED)
    return (
        "## Write errors\n\n"
        "A single document or statement of `insert`, `update`, `delete` or `bulkWrite` that is refused is "
        "left out of the command, and so is what follows it when the command is ordered. The reply has a "
        "write error for it, `{index, code, errmsg}` or in `bulkWrite` `{ok: 0, idx, code, errmsg}`, beside "
        "those of the server. When nothing is left to send, Sealwire answers at once.\n\n"
        f"- code {VALIDATION_FAILED}, as of a validator: {failed}\n"
        f"- the code of the table above: {others}\n\n"
        "`shape` is a write error in `insert`, `update` and `delete` only, and only if the statement has the "
        "parts that drivers send, each in its type. A server cannot read a command with other parts: it "
        "writes nothing, and neither does Sealwire.\n\n"
        "The whole command is refused for every other reason, in a transaction, when it is unacknowledged, "
        f"and when it is a `bulkWrite` of more than {MAX_BULK_BYTES >> 20} MiB or with a `batchSize`.\n"
    )


def _failures() -> str:
    failures = dict.fromkeys((*FAILURES.values(), NAME_NOT_TOLD, TRANSACTION_LOST))
    retried = sorted({text for error, (_, text) in FAILURES.items() if error in RETRIED} | {NAME_NOT_TOLD[1]})
    passing = ", ".join(map(str, sorted(RETRYABLE)))
    rows = [f"| {code} {name} | {text} |" for (code, name), text in failures]
    return (
        "## Values that cannot be read or written\n\nThe whole reply is withheld: a part of it would be a "
        "wrong answer. The texts are fixed, so that they tell an attacker nothing.\n\n"
        "| code | errmsg |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        "Commands that fail with these texts were not sent, or have written nothing. So drivers may try them "
        "again:\n\n"
        + "".join(f"- {text}\n" for text in retried)
        + "\nThe label of such an error depends on the command:\n\n"
        "| command | label |\n|---|---|\n"
        "| a command in a transaction | `TransientTransactionError` |\n"
        "| the commit of a transaction | `UnknownTransactionCommitResult` |\n"
        "| a retryable write outside of a transaction | `RetryableWriteError` |\n"
        "| any other | none |\n\n"
        "A commit with code 251 has `TransientTransactionError` if the server has said that the transaction "
        "is aborted. `withTransaction` then runs it again.\n\n"
        "Before some commands Sealwire asks the server whether a name is a view. If the server answers with "
        "an error, the command is not sent, and the client gets:\n\n"
        "| the server's code | the client's error |\n|---|---|\n"
        f"| one for which drivers try again: {passing} | the server's, with the label of the table above |\n"
        "| one about the user, its rate, the name or the API | the server's |\n"
        "| another one that passes, such as 43, 50, 112, 251 | code 262, with that label |\n"
        "| any other | code 1 |\n"
    )


def _logins() -> str:
    rows = (
        (AUTHENTICATION_FAILED, CERTIFICATE_LOGIN),
        (LOAD_BALANCER_SUPPORT_MISMATCH, LOAD_BALANCER),
    )
    lines = "".join(f"| {code} {name} | {text} |\n" for (code, name), text in rows)
    return f"## Refused logins and handshakes\n\n| code | errmsg |\n|---|---|\n{lines}"


def _closes() -> str:
    rows = [f"| `{reason.value}` | {_CLOSES[reason]} |" for reason in CloseReason]
    wire = ", ".join(f"`{reason.value}`" for reason in WireReason)
    return (
        "## Closed connections\n\nIn the log, never on the wire.\n\n| reason | meaning |\n|---|---|\n"
        + "\n".join(rows)
        + f"\n\nWays to break the protocol, with the byte offset in the log: {wire}.\n"
    )


def _exit_codes() -> str:
    texts = {
        node.name: ast.get_docstring(node) or ""
        for source in sources().values()
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name in EXIT_CODES
    }
    rows = [
        f"| {code} | {case} |"
        for name, code in sorted(EXIT_CODES.items(), key=lambda item: (item[1], item[0]))
        for case in re.findall(r"^- (.+)", texts[name], re.MULTILINE) or texts[name].splitlines()[:1]
    ]
    return (
        "## Exit codes of the command line\n\n0 is success, 1 an answer of no (`policy explain` of a refused "
        "command, `policy test` with a difference, `lint --strict` with findings, `policy enforce` where a "
        "collection failed, `tls verify` where a rule fails), 2 wrong usage. Every other failure prints "
        "`error:` and `hint:` lines.\n\n"
        "| code | when |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


_MATRIX_HEAD = """# What works on covered fields

Generated from the code by `python -m tools.generate_docs`. A test fails when the two differ.

What touches no covered field works as it does without Sealwire. On covered fields an operation is

- **encrypted**: it works; values in it that are stored at a covered path or compared with one are encrypted;
- **passed**: it works as it stands;
- **refused**: ciphertext cannot give the right answer. The error ends in the reason ([errors.md](errors.md)).

[policies.md](policies.md) has the rules behind it, [queries.md](queries.md) examples.

"""


def _family(family: RuleTable) -> str:
    rows = [
        f"| `{name.decode()}` | {rule.verdict.value} | "
        f"{f'[{rule.reason.value}]' if rule.reason else ''} | {_note(rule)} |"
        for name, rule in sorted(family.rules.items(), key=lambda item: item[0].lower())
    ]
    return (
        f"## {family.title}\n\n| name | on covered fields | reason | note |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nNames that are not listed: {family.others}.\n"
    )


def _note(rule: Rule[Callable[..., object]]) -> str:
    recorded = "" if rule.act is None else f"always on record ({rule.act.value})"
    asked = "" if rule.asks is None else "a class with `ask: true` [answers it](asking.md)"
    return "; ".join(each for each in (rule.note, asked, recorded) if each)


def render_errors() -> str:
    """The page of errors."""
    return _HEAD + "\n".join([_refusals(), _write_errors(), _failures(), _logins(), _closes(), _exit_codes()])


def render_matrix() -> str:
    """The page of commands, operators and stages."""
    return _MATRIX_HEAD + "\n".join(map(_family, MATRIX))


def render_states() -> str:
    """The states of a session as one diagram for each of its parts, which has one of them at a time."""
    regions = [
        "\n".join(
            [f"  [*] --> {states[0].name}"]
            + [
                f"  {row.before.name} --> {row.after.name}: {row.event.value}"
                for row in TRANSITIONS
                if row.before in states
            ]
        )
        for states in SESSION_PARTS.values()
    ]
    states = "\n".join(f"| `{state.name}` | {_said_of(State, state.name)} |" for state in State)
    diagrams = "\n\n".join(f"```mermaid\nstateDiagram-v2\n{region}\n```" for region in regions)
    return f"{diagrams}\n\n| state | meaning |\n|---|---|\n{states}"


def _said_of(owner: type, name: str) -> str:
    """The line of documentation below a member in the source."""
    found = re.search(rf'^    {name} = .*\n    """(.*)"""$', getsource(owner), re.MULTILINE)
    if found is None:
        raise ValueError(f"{owner.__name__}.{name} has no documentation")
    return found[1]


def render_key_states() -> str:
    """The states of a data key as a diagram, and what each of them may do."""
    lines = [f"  [*] --> {_identifier(state)}" for state in FIRST_STATES]
    lines += [
        f"  {_identifier(move.before)} --> {_identifier(move.after)}: {move.event.value}"
        for move in KEY_MOVES
    ]
    diagram = "\n".join(lines)
    rows = "\n".join(
        f"| `{state.value}` | {_yes(state is KeyState.ACTIVE)} | {_yes(state.decrypts)} | "
        f"{_said_of(KeyState, state.name)} |"
        for state in KeyState
    )
    return (
        f"```mermaid\nstateDiagram-v2\n{diagram}\n```\n\n"
        f"| state | encrypts | decrypts | meaning |\n|---|---|---|---|\n{rows}"
    )


def _identifier(state: KeyState) -> str:
    """A name that a diagram takes: no hyphen."""
    return state.value.replace("-", "_")


def _yes(answer: bool) -> str:
    return "yes" if answer else "no"


RESULTS = DOCS / "clients.json"
DIFFERENCES = DOCS.parent / "tests" / "clients" / "pymongo_differences.toml"

_CLIENTS = "| client | language | version | direct = through Sealwire | notes |\n|---|---|---|---|---|\n"
_SUITE = "| what | why | tests |\n|---|---|---|\n"


def render_clients() -> str:
    """One line for each client: how many steps saw the same, what was refused, what is absent."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows.sort(key=lambda row: (row["language"], row["client"]))
    return _CLIENTS + "\n".join(map(_client, rows))


def _client(row: dict[str, Any]) -> str:
    same, refused = row["same"], row["refused"]
    notes = [f"{step}: refused, `{reason}`" for step, reason in sorted(refused.items())]
    for why in dict.fromkeys(row["absent"].values()):
        parts = ", ".join(part for part, reason in row["absent"].items() if reason == why)
        notes.append(f"no {parts}: {why}")
    notes += [] if row["compressors"] else ["not compressed"]
    notes += [row["note"]] if row["note"] else []
    steps = f"{len(same)} of {len(same) + len(refused)} steps"
    return f"| {row['client']} | {row['language']} | {row['version']} | {steps} | {'; '.join(notes)} |"


def render_driver_suite() -> str:
    """What was run of the driver's own tests, and a line for each reason that outcomes differ."""
    document = tomllib.loads(DIFFERENCES.read_text(encoding="utf-8"))
    rows = "\n".join(map(_group, document["difference"]))
    return f"{document['measured']['text'].strip()}\n\n{_SUITE}{rows}"


def _group(group: dict[str, Any]) -> str:
    tests = "<br>".join(f"`{test.removeprefix('test.')}`" for test in group["tests"])
    return f"| {group['kind']} | {group['reason']} | {tests} |"


_ARCHITECTURE, _KEYS, _README = "ENCRYPTION_ARCHITECTURE.md", "operations/key-rotation.md", "../README.md"
# Page -> its generated parts.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    _ARCHITECTURE: {"rooms": draw_rooms, "session-states": render_states},
    _KEYS: {"key-states": render_key_states},
    _README: {"clients": render_clients},
    "compatibility.md": {"driver-suite": render_driver_suite},
}


def render_parts(name_of_page: str) -> str:
    """A page with its generated parts as they should be."""
    page = (DOCS / name_of_page).read_text()
    for name, render in PARTS[name_of_page].items():
        first, last = f"<!-- generated: {name} -->\n", f"\n<!-- end of {name} -->"
        before, begun, rest = page.partition(first)
        _, ended, after = rest.partition(last)
        if not begun or not ended:
            raise ValueError(f"docs/{name_of_page} has no place for {name}")
        page = before + first + render() + last + after
    return page


def render_settings() -> str:
    """The page of settings: types, defaults and variables from the table; what each means stays."""
    page = (DOCS / "configuration.md").read_text()
    for setting in SETTINGS.values():
        row = rf"^\| `{re.escape(setting.name)}` \| (.*) \| (.*) \| (.*) \| .* \|$"
        found = re.search(row, page, re.MULTILINE)
        if found is None:
            raise ValueError(f"docs/configuration.md has no row for {setting.name}: write what it means")
        meaning, shown, default = found.groups()
        cells = (
            f"`{setting.name}`",
            meaning,
            setting.value.shown or shown,
            default if setting.default is None else f"`{_written(setting.default)}`",
            f"`{setting.variable}`" if setting.has_variable else "none",
        )
        page = page.replace(found[0], f"| {' | '.join(cells)} |")
    return page


def _written(default: object) -> str:
    """A default as YAML writes it."""
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:.0f}" if isinstance(default, float) and default.is_integer() else str(default)


_DECISIONS_HEAD = """# Decisions

Generated from the titles of these pages by `python -m tools.generate_docs`. A test fails when the two differ.

| number | decision | status |
|---|---|---|
"""


def render_decisions() -> str:
    """The list of the ADRs: number, title and status of each."""
    rows = []
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        text = path.read_text()
        number, _, title = text.partition("\n")[0].removeprefix("# ").partition(". ")
        status = re.search(r"^Status: (.*)$", text, re.MULTILINE)
        if status is None or int(number) != int(path.name[:4]):
            raise ValueError(f"docs/adr/{path.name} has no status, or another number in its title")
        rows.append(f"| {number} | [{title}]({path.name}) | {status[1]} |")
    return _DECISIONS_HEAD + "\n".join(rows) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": render_errors,
    "commands.md": render_matrix,
    **{name: partial(render_parts, name) for name in PARTS},
    "configuration.md": render_settings,
    "adr/README.md": render_decisions,
}


def main() -> int:
    """Write the pages, or with --check compare them."""
    stale = [name for name, render in PAGES.items() if _stored(name) != render()]
    if "--check" in sys.argv[1:]:
        for name in stale:
            print(f"docs/{name} is out of date: run python -m tools.generate_docs", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


def _stored(name: str) -> str | None:
    path = DOCS / name
    return path.read_text() if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
