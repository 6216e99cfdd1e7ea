"""Write docs/errors.md from the tables in the code; `--check` only says whether it is up to date."""

import sys
from inspect import getdoc
from pathlib import Path

from sealwire.cli.exit_codes import EXIT_CODES
from sealwire.policies.errors import EXPLANATIONS
from sealwire.proxy.session.effects import CloseReason
from sealwire.proxy.session.replies import AUTHENTICATION_FAILED, CERTIFICATE_LOGIN, FAILURES
from sealwire.wire.errors import WireReason

TARGET = Path(__file__).parent.parent / "docs" / "errors.md"

_HEAD = """# Errors

Generated from the code by `tools/generate_docs.py`; a test fails when the two differ.

"""

_CLOSES = {
    CloseReason.CLIENT_EOF: "the client closed its connection",
    CloseReason.SERVER_EOF: "the server closed its connection; drivers see a network error and retry",
    CloseReason.CLIENT_PROTOCOL: "the client broke the wire protocol",
    CloseReason.SERVER_PROTOCOL: "the server broke the wire protocol, or streamed what does not decrypt",
    CloseReason.REFUSED_UNACKNOWLEDGED: "a write without acknowledgement was refused: no reply can say so",
    CloseReason.KEYS_UNAVAILABLE: "a reply needs a key, and the keyring could not be read in time",
    CloseReason.DRAINED: "the proxy is shutting down",
    CloseReason.TOPOLOGY: "the server named a replica-set member that has no listener here",
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


def _failures() -> str:
    rows = [f"| {code} {name} | {text} |" for (code, name), text in dict.fromkeys(FAILURES.values())]
    return (
        "## Values that cannot be read or written\n\nThe whole reply is withheld: a part of it would be a "
        "wrong answer. The texts are fixed, so that they tell an attacker nothing.\n\n"
        "| code | errmsg |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def _logins() -> str:
    code, name = AUTHENTICATION_FAILED
    return f"## Refused logins\n\n| code | errmsg |\n|---|---|\n| {code} {name} | {CERTIFICATE_LOGIN} |\n"


def _closes() -> str:
    rows = [f"| `{reason.value}` | {_CLOSES[reason]} |" for reason in CloseReason]
    wire = ", ".join(f"`{reason.value}`" for reason in WireReason)
    return (
        "## Closed connections\n\nIn the log, never on the wire.\n\n| reason | meaning |\n|---|---|\n"
        + "\n".join(rows)
        + f"\n\nWays to break the protocol, with the byte offset in the log: {wire}.\n"
    )


def _exit_codes() -> str:
    rows = [
        f"| {code} | {(getdoc(error) or '').splitlines()[0]} |"
        for error, code in sorted(EXIT_CODES.items(), key=lambda item: (item[1], item[0].__name__))
    ]
    return (
        "## Exit codes of the command line\n\n0 is success, 1 an answer of no (`policy explain` of a refused "
        "command, `lint --strict` with findings, `policy enforce` where a collection failed, `tls verify` "
        "where a rule fails), 2 wrong usage. Every other failure prints `error:` and `hint:` lines.\n\n"
        "| code | when |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def render() -> str:
    """The whole page."""
    return _HEAD + "\n".join([_refusals(), _failures(), _logins(), _closes(), _exit_codes()])


def main() -> int:
    """Write the page, or with --check compare it."""
    text = render()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            print("docs/errors.md is out of date: run tools/generate_docs.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
