"""How many files the process may have open: each connection needs two."""

import logging
import resource

from sealwire.proxy.server.observability.logs import note

_log = logging.getLogger("sealwire.server")

# For listeners, the admin address, files and probes.
_SPARE_FILES = 64


def allow_connections(connections: int) -> None:
    """Raise the soft limit of open files for that many; many systems start processes with 1024."""
    needed = 2 * connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        note(_log, logging.WARNING, "open files are limited", allowed=hard, needed=needed)
        needed = hard
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
