"""How many files the process may have open: each connection needs two."""

import resource

from sealwire.proxy.server.connections.places import kept_places
from sealwire.proxy.server.findings import Finding, warn

# For listeners, the admin address, files and probes.
_SPARE_FILES = 64


def allow_connections(connections: int) -> None:
    """Raise the soft limit of open files for that many; many systems start processes with 1024."""
    warn(open_file_findings(connections))
    needed = _needed(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def open_file_findings(connections: int) -> list[Finding]:
    """That the system allows one process too few files for so many connections."""
    needed = _needed(connections)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return []
    problem = f"a process may open {hard} files, and {connections} connections need {needed}"
    hint = "raise the hard limit (LimitNOFILE of a unit, ulimits of a container), or lower limits.connections"
    return [Finding("open files are limited", problem, hint, {"allowed": hard, "needed": needed})]


def _needed(connections: int) -> int:
    return 2 * (connections + kept_places(connections)) + _SPARE_FILES
