"""The import contracts see every room: a forbidden import that is planted in one is found."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.build_context import copy_build_context

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
FORBIDDEN = [
    ("wire", "asyncio"),
    ("wire", "sealwire.crypto"),
    ("crypto", "sealwire.keys"),
    ("crypto", "socket"),
    ("keys", "sealwire.policies"),
    ("keys", "hvac"),
    ("sidecars", "hvac"),
    ("sidecars/luks", "sealwire.sidecars.backup.sealed.manifest"),
    ("sidecars/backup/sealed", "sealwire.sidecars.backup.archive.contents"),
    ("sidecars/backup/keeping", "sealwire.sidecars.backup.dumping.readers"),
    ("policies", "cryptography"),
    ("policies", "sealwire.proxy.session"),
    ("policies/filters", "sealwire.policies.commands.planner"),
    ("policies/file", "sealwire.policies.planning.plan"),
    ("proxy/server/config", "sealwire.proxy.server.workers.app"),
    ("files", "sealwire.policies"),
    ("audit", "sealwire.policies"),
    ("audit", "sealwire.proxy.session"),
    ("proxy/session", "time"),
    ("proxy/session", "sealwire.proxy.server"),
    ("proxy/server", "cryptography"),
    ("proxy/server", "sealwire.cli"),
]


@pytest.fixture(scope="module")
def copied_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rooms with their links, without a contract broken."""
    root = tmp_path_factory.mktemp("rooms")
    copy_build_context(root)
    return root


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache"],
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
        env={"COLUMNS": "200"},
    )


def test_the_contracts_are_kept(copied_rooms: Path) -> None:
    done = lint_imports(copied_rooms)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def with_planted(copied_rooms: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """What one run says of all forbidden imports, each in a module of its own."""
    planted = [copied_rooms / room / f"planted_{place}.py" for place, (room, _) in enumerate(FORBIDDEN)]
    for path, (_, module) in zip(planted, FORBIDDEN, strict=True):
        path.write_text(f"import {module}\n", encoding="utf-8")
    yield lint_imports(copied_rooms)
    for path in planted:
        path.unlink()


@pytest.mark.parametrize(("place", "room", "module"), [(place, *row) for place, row in enumerate(FORBIDDEN)])
def test_a_planted_import_breaks_a_contract(
    with_planted: subprocess.CompletedProcess[str], place: int, room: str, module: str
) -> None:
    assert with_planted.returncode == 1
    assert f"sealwire.{room.replace('/', '.')}.planted_{place} -> {module}" in with_planted.stdout
