"""Functions in processes of their own, forked from one that has imported what several tests run so."""

import multiprocessing
from typing import Final

PROCESSES: Final = multiprocessing.get_context("forkserver")

# It is one for the whole process: what counts is told before the first is started.
PROCESSES.set_forkserver_preload(["tests.integration.backup_writer", "tests.integration.differential.mover"])
