"""The server's own audit log: without one, nobody can tell afterwards who used a key.

Vault takes an audit device through its API. OpenBao takes it from its configuration file unless that allows
otherwise: then the step is for an operator, and its advice is the text to write.
"""

from sealwire.keys.errors import KeySettingError
from sealwire.sidecars.vault_setup.resource import Fields, Kind, Request, State, Step
from sealwire.sidecars.vault_setup.server import Server

_NAME = "sealwire"
_EXAMPLE_FILE = "/var/log/openbao/audit.log"


def audit_step(server: Server, audit_file: str | None) -> Step:
    """Satisfied by any device: which one is the operator's choice. A new one would write to `audit_file`."""
    devices = server.read("sys/audit")
    if devices:
        return Step(Kind.AUDIT, ", ".join(sorted(name.rstrip("/") for name in devices)), State.SATISFIED)
    if audit_file is None:
        return _by_hand(_EXAMPLE_FILE)
    body: Fields = {"type": "file", "options": {"file_path": audit_file}}
    return Step(
        Kind.AUDIT, _NAME, State.TO_DO, request=Request(f"sys/audit/{_NAME}", body), advice=audit_file
    )


def enable(server: Server, step: Step) -> Step:
    """Do `step`; where the server takes no audit device through its API, say what to configure instead."""
    if step.request is None:
        return step
    try:
        server.write(step.request.path, step.request.body)
    except KeySettingError as error:
        return _by_hand(step.advice, error.hint)
    return Step(Kind.AUDIT, _NAME, State.SATISFIED)


def configuration(audit_file: str) -> str:
    """The block of an OpenBao configuration that enables a file device."""
    return f'audit "file" "{_NAME}" {{\n  options {{ file_path = "{audit_file}" }}\n}}\n'


def _by_hand(audit_file: str, refusal: str = "") -> Step:
    tried = f"not enabled; {refusal}." if refusal else "enable one with --audit-file."
    advice = (
        f"{tried} Or write this in the server's configuration and reload it:\n{configuration(audit_file)}"
    )
    return Step(Kind.AUDIT, _NAME, State.BY_HAND, advice=advice)
