"""A SecantusDB server whose transactions last for so many seconds, as `transactionLifetimeLimitSeconds` says.

The server has no such parameter. It aborts what nobody has used for 60 s, and looks for it only when another
transaction asks something. As a program this file runs the server with a limit, counted from a transaction's
beginning as MongoDB counts it, and names it in `getParameter`: everything that is to be waited for in a test
is over sooner.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

from sealwire.testbed.child import Arguments
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess

PARAMETER = "transactionLifetimeLimitSeconds"
_LOOK_AGAIN_S = 0.2


class ShortTransactions(DatabaseProcess):
    """A server that aborts a transaction once it is `lifetime_s` old."""

    def __init__(self, options: DatabaseOptions, lifetime_s: int) -> None:
        super().__init__(options)
        self.lifetime_s = lifetime_s

    def arguments(self) -> Arguments:
        """Raises:  TestbedError (PROGRAM_MISSING)"""
        _, *rest = super().arguments()
        # -P: a module beside this one has the server's name
        return [sys.executable, "-P", Path(__file__), str(self.lifetime_s), *rest]


def main(lifetime_s: int, arguments: list[str]) -> int:
    """Run the server with this limit."""
    from secantus import cli, server, serverparams, transactions  # type: ignore[import-untyped]

    begin, changed = server.SecantusDBServer.start, serverparams.ServerParams.snapshot

    def start(self: Any) -> None:
        begin(self)
        threading.Thread(target=sweep, args=(self.transactions,), daemon=True).start()

    def sweep(registry: Any) -> None:
        while True:
            time.sleep(_LOOK_AGAIN_S)
            registry.prune_expired()

    server.SecantusDBServer.__init__.__kwdefaults__["transaction_lifetime_seconds"] = float(lifetime_s)
    server.SecantusDBServer.start = start
    serverparams.ServerParams.snapshot = lambda self: {**changed(self), PARAMETER: lifetime_s}
    # the time runs from a transaction's beginning, used or not
    aged = {"last_use": property(lambda self: self.started_at, lambda _self, _now: None)}
    for name, measured in aged.items():
        setattr(transactions.Transaction, name, measured)
    return int(cli.main(arguments))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
