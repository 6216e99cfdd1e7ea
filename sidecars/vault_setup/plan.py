"""Compares what is wanted with what the server has, and carries out what is left to do.

Nothing is stored between runs: a set-up that was interrupted goes on from what it finds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sealwire.keys.errors import KeySettingError
from sealwire.sidecars.vault_setup.desired import resources
from sealwire.sidecars.vault_setup.errors import NotChangeable, SetupReason
from sealwire.sidecars.vault_setup.resource import (
    Fields,
    Kind,
    Request,
    Resource,
    Server,
    State,
    Step,
    compare,
)
from sealwire.sidecars.vault_setup.settings import SetupSettings

# ----------------------- the server's own audit log: without one, nobody can tell afterwards who used a key
#
# Vault takes an audit device through its API. OpenBao takes it from its configuration file unless that
# allows otherwise: then the step is for an operator, and its advice is the text to write.

_NAME = "sealwire"
_EXAMPLE_FILE = "/var/log/openbao/log"


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


def compare_all(server: Server, settings: SetupSettings) -> tuple[Step, ...]:
    """One step a resource, in the order of making. Changes nothing.

    Cost:    one read a resource, about twenty
    Raises:  KekUnavailable, KekDenied where the token may not look
    """
    steps = (compare(resource, found) for resource, found in look(server, resources(settings)))
    return (*steps, audit_step(server, settings.audit_file))


def look(server: Server, wanted: Iterable[Resource]) -> Iterator[tuple[Resource, Mapping[str, Any] | None]]:
    """Each resource, and what the server has of it; a list that several are in is read once."""
    listings: dict[str, Mapping[str, Any]] = {}
    for resource in wanted:
        if resource.listing is None:
            yield resource, server.read(resource.path)
            continue
        if resource.listing not in listings:
            listings[resource.listing] = server.read(resource.listing) or {}
        found = listings[resource.listing].get(resource.entry)
        yield resource, found if isinstance(found, Mapping) else None


def require_changeable(steps: Sequence[Step]) -> None:
    """Raises NotChangeable FIXED when a key, a mount or a login of that name is there and is another."""
    for step in steps:
        if step.state is State.BY_HAND and step.kind is not Kind.AUDIT:
            raise NotChangeable(
                SetupReason.FIXED, f"the server has another {step.kind.value} called {step.name}", step.advice
            )


def carry_out(server: Server, steps: Sequence[Step]) -> Iterator[Step]:
    """Do what is left to do, and give each step back as it then stands.

    Raises:  as `require_changeable`, before anything is changed; whatever the server refuses with, at the
             step that it refuses: those before it stay done, and running again goes on from there
    """
    require_changeable(steps)
    for step in steps:
        if step.request is None:
            yield step
        elif step.kind is Kind.AUDIT:
            yield enable(server, step)
        else:
            server.write(step.request.path, step.request.body)
            yield Step(step.kind, step.name, State.SATISFIED, step.differences)


def verify(server: Server, settings: SetupSettings, done: Sequence[Step]) -> tuple[Step, ...]:
    """How everything stands after `carry_out`, by a second look: what the server has, not what it was told.

    The audit device is as carrying out left it: a second look would not know what was tried.
    """
    audits = [step for step in done if step.kind is Kind.AUDIT]
    return (*(step for step in compare_all(server, settings) if step.kind is not Kind.AUDIT), *audits)


def outstanding(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps that are not satisfied: the drift."""
    return tuple(step for step in steps if step.state is not State.SATISFIED)
