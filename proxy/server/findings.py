"""What is allowed and deserves a warning: at every start, at a reload that brings it, and by `--check`."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from sealwire.crypto.host_names import is_this_machine
from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import load_config, variables_unread
from sealwire.proxy.server.config.settings import KNOWN_VARIABLES, AccessControl, Config, TlsMode
from sealwire.proxy.server.errors import AccessProblem, ServerError, StartReason
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.session.choices import Reveal

_log = logging.getLogger("sealwire.server")

_LOGIN_HINT = "turn authorization on in the server and make users; upstream.access_control is 'required' then"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an operator should know, and what to do about it."""

    event: str
    """A few words, the same every time: the log's event."""
    problem: str
    hint: str
    fields: Mapping[str, str | int] = field(default_factory=dict)
    """What programs may want of it: more fields of the log's line."""


NO_ACCESS_CONTROL = Finding(
    "no access control",
    "upstream.access_control is 'none': no login is asked for, the server alone decides what strangers get",
    _LOGIN_HINT,
)
LOGIN_WANTED = Finding(
    "access control in spite of the setting",
    "upstream.access_control is 'none', but the server asks for a login",
    "set upstream.access_control to 'required'; commands before a login are then answered here",
)
REVEALED_EVERYWHERE = Finding(
    "plaintext in every reply",
    "reveal is 'everywhere': ciphertext that was copied into unprotected collections is read in clear",
    "set reveal to 'protected', unless an application needs such copies",
)
CLIENTS_UNKNOWN = Finding(
    "clients without certificates",
    "clients from other machines need no certificate: whoever the database lets in reads everything in clear",
    "set listen.tls.client_ca and require_client_certificate; let the network admit the applications only",
)


def findings(config: Config) -> list[Finding]:
    """What the configuration alone tells."""
    found: list[Finding] = []
    if config.access_control is AccessControl.NONE:
        found.append(NO_ACCESS_CONTROL)
    if config.reveal is Reveal.EVERYWHERE:
        found.append(REVEALED_EVERYWHERE)
    local = all(is_this_machine(member.listen.host) for member in config.members)
    if not local and not config.listen_tls.require_client_certificate:
        found.append(CLIENTS_UNKNOWN)
    return found


def plaintext_findings(config: Config) -> list[Finding]:
    """The sides without TLS, each on its own. Cost: none."""
    modes = {"listen": config.listen_tls.mode, "upstream": config.upstream_tls.mode}
    return [
        Finding(
            "no TLS on this side",
            f"{name}.tls.mode is 'plaintext': whoever is on the way reads and changes what passes",
            f"name the files of TLS in {name}.tls, unless both ends are on this machine",
            {"side": name},
        )
        for name, mode in modes.items()
        if mode is TlsMode.PLAINTEXT
    ]


def load_telling(path: Path, environ: Mapping[str, str], tell: Callable[[Sequence[Finding]], None]) -> Config:
    """The configuration. `tell` gets what is to be said of variables, also where it cannot be read.

    A variable that nothing reads may be why a start fails, here or later. Raises as `load_config`.
    """
    try:
        config = load_config(path, environ)
    except (ServerError, SourceError):
        tell(variable_findings(variables_unread(path, environ)))
        raise
    tell(variable_findings(config.ignored_variables))
    return config


def variable_findings(names: Iterable[str]) -> list[Finding]:
    """Variables that look like Sealwire's and that nothing reads. Their values stay unsaid."""
    found = []
    for name in names:
        variable = "".join(char if char.isprintable() else "?" for char in name)
        meant = get_close_matches(name.upper(), KNOWN_VARIABLES, 1)
        hint = f"did you mean {meant[0]}?" if meant else "docs/configuration.md lists all of them"
        problem = f"{variable} names no key, and changes nothing"
        found.append(Finding("environment variable names no key", problem, hint, {"variable": variable}))
    return found


def compare_access(
    setting: AccessControl, answers: Iterable[AccessControl | None], who: str = "the server"
) -> list[Finding]:
    """What the servers say to the setting; None is an answer that does not tell. Raises AccessProblem.

    `who` stands for them in the error.
    """
    said = set(answers)
    if setting is AccessControl.REQUIRED and AccessControl.NONE in said:
        raise AccessProblem(
            StartReason.ACCESS_CONTROL_MISSING,
            f"{who} asks for no login, and every command that comes without one would be refused here",
            f"{_LOGIN_HINT}; for a server that is to have none, set upstream.access_control to 'none'",
        )
    return [LOGIN_WANTED] if setting is AccessControl.NONE and AccessControl.REQUIRED in said else []


def warn(found: Sequence[Finding]) -> None:
    """Log each of them."""
    for finding in found:
        note(
            _log, logging.WARNING, finding.event, **finding.fields, problem=finding.problem, hint=finding.hint
        )
