"""What a process has to inherit for `make coverage` to see what it runs."""

import os

_NAMES = ("COVERAGE_PROCESS_START", "SEALWIRE_ROOT", "PYTEST_CURRENT_TEST")


def measuring() -> dict[str, str]:
    """The variables for a process that is started without the others; none where nothing is measured."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ}
