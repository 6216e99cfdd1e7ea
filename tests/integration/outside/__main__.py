"""Run the tests on a server of yours: `make test-server URI=mongodb://user:password@host/`.

The connection string is read from the environment variable URI, where `make` puts it. The tests write to
databases whose names begin with `sealwire_test_` and eight random characters, and drop them at the end; they
ask for no leave. The user needs the roles readWriteAnyDatabase, dbAdminAnyDatabase and clusterMonitor, or the
role root.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.sidecars.direct import failure
from sealwire.sidecars.errors import SidecarError
from sealwire.testbed.errors import TestbedError
from tests.integration.outside.chosen import FIRST_OF_EVERY_NAME, Outside, drop, use
from tests.integration.outside.report import Report
from tests.integration.outside.server import Document, Server, UnusableServer, look_at

PARTS = ("differential", "conversations", "drivers", "enforcement")
_DIFFERED, _CANNOT_RUN = 1, 2


def main() -> int:
    """Exit code 0: nothing differed; 1: something did; 2: the tests could not run."""
    options = _options()
    uri = os.environ.get("URI", "")
    if not uri:
        return _cannot("no server is named\nhint: make test-server URI=mongodb://user:password@host/")
    try:
        server = look_at(uri)
        report = run(server, options.parts, options.seed, options.examples)
    except (SidecarError, TestbedError) as error:
        return _cannot(f"{error}\nhint: {error.hint}")
    except UnusableServer as error:
        return _cannot(str(error))
    text = json.dumps(report.to_json(), indent=2) if options.json else "\n".join(report.lines())
    sys.stdout.write(text + "\n")
    return _DIFFERED if report.differed or report.left else 0


def _options() -> argparse.Namespace:
    lines = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="make test-server URI=...", description="\n".join(lines[2:]))
    parser.add_argument("--json", action="store_true", help="print the report for a program")
    parser.add_argument("--examples", type=int, default=500, help="generated sequences (default: 500)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEALWIRE_SEED", "1")))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    return parser.parse_args()


def run(server: Server, parts: tuple[str, ...], seed: int, examples: int) -> Report:
    """The report of these parts. Whatever happens, the run's databases are dropped.

    Raises:  UnusableServer when the user may not write
    """
    prefix = f"{FIRST_OF_EVERY_NAME}{secrets.token_hex(4)}_"
    with tempfile.TemporaryDirectory(prefix=prefix) as folder, MongoClient[Document](server.uri) as client:
        use(Outside(server, prefix, Path(folder)))
        # Tests read the names of their databases when they are imported, and pytest comes before hypothesis.
        from tests.integration.outside.files import run_files

        rows = []
        try:
            _try_to_write(client, prefix)
            rows = run_files(parts, Path(folder) / "pytest")
            if "differential" in parts:
                from tests.integration.outside.campaigns import run_campaigns

                rows = [*run_campaigns(Path(folder), seed, examples), *rows]
        finally:
            left = drop(client, prefix)
    for row in rows:
        row.differences = [(what, hidden(how, server)) for what, how in row.differences]
    return Report(server, prefix, seed, rows, left)


def _try_to_write(client: MongoClient[Document], prefix: str) -> None:
    try:
        client[f"{prefix}first"].tests.insert_one({})
        client.drop_database(f"{prefix}first")
        client.list_database_names()
    except PyMongoError as error:
        text = f"the user may not write there ({failure(error)}): it needs the roles readWriteAnyDatabase"
        raise UnusableServer(f"{text}, dbAdminAnyDatabase and clusterMonitor") from None


def hidden(text: str, server: Server) -> str:
    """A text without the server's password, in case a driver's error quoted the connection string."""
    password = server.login.rstrip("@").partition(":")[2]
    for secret in filter(None, (password, unquote(password))):
        text = text.replace(secret, "***")
    return text


def _cannot(text: str) -> int:
    sys.stderr.write(f"error: {text}\n")
    return _CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
