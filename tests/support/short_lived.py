"""SecantusDB with another lifetime of transactions, which it states as MongoDB does: SECONDS, its options.

It keeps idle transactions for 60 s and has no option for that. A move waits for a proxy that was killed until
its transactions are over, which is more than two minutes then.
"""

import functools
import sys
from typing import Any

import secantus.cli  # type: ignore[import-untyped]
from secantus.server import SecantusDBServer  # type: ignore[import-untyped]
from secantus.serverparams import ServerParams  # type: ignore[import-untyped]

NAME = "transactionLifetimeLimitSeconds"


def main() -> int:
    lifetime_s = int(sys.argv[1])
    snapshot = ServerParams.snapshot

    def stated(params: ServerParams) -> dict[str, Any]:
        return {NAME: lifetime_s, **snapshot(params)}

    ServerParams.snapshot = stated
    server = functools.partial(SecantusDBServer, transaction_lifetime_seconds=float(lifetime_s))
    secantus.cli.SecantusDBServer = server
    return int(secantus.cli.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
