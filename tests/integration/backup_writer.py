"""A program that makes one backup, for tests that stop it. Arguments: DIRECTORY NAME.

Exits 0 after the backup, else with the exit code of its error, whose reason it prints.
"""

import os
import random
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sealwire.cli.exit_codes import exit_code
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores import local_store
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import SidecarError
from tests.sidecars.backup.samples import KEK, Content, documents, make_dump

SIZE = 300_000


def noise_dump() -> tuple[Content, ...]:
    """A dump that does not compress: about SIZE bytes, the same every time."""
    text = random.Random(7).randbytes(SIZE // 2).hex()
    return (("clinic/patients.bson", documents(1, text), "clinic.patients", 1),)


def make_in_steps(directory: str, name: str, line: "Connection[str, str]") -> None:
    """The same in a process that is forked for it, which can be killed at a chosen step.

    Before and after each step that touches the store it says so on `line`, and waits for an answer.
    """

    def stepped(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            line.send("before")
            line.recv()
            result = function(*arguments, **options)
            line.send("after")
            line.recv()
            return result

        return step

    # whatever can be seen from outside
    local_store.LocalUpload.__init__ = stepped(local_store.LocalUpload.__init__)  # type: ignore[method-assign]
    local_store.LocalUpload.write = stepped(local_store.LocalUpload.write)  # type: ignore[method-assign]
    os.fsync = stepped(os.fsync)
    Path.rename = stepped(Path.rename)  # type: ignore[method-assign]
    sys.exit(main(directory, name))


def main(directory: str, name: str) -> int:
    tar, manifest = make_dump(noise_dump())
    try:
        with create_backup(LocalStore(Path(directory)), name, [KEK], chunk_bytes=1 << 16) as writer:
            for start in range(0, len(tar), 10_000):
                writer.write(tar[start : start + 10_000])
            writer.commit(manifest)
    except SidecarError as error:
        print(error.reason.value)  # noqa: T201 - for the test
        return exit_code(error) or 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
