"""The import contracts see every room: a forbidden import that is planted in one is found."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.build_context import copy_build_context

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


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


@pytest.mark.parametrize(
    ("room", "module"),
    [
        ("wire", "asyncio"),
        ("wire", "sealwire.crypto"),
        ("crypto", "sealwire.keys"),
        ("crypto", "socket"),
        ("keys", "sealwire.policies"),
        ("keys", "hvac"),
        ("sidecars", "hvac"),
        ("sidecars/luks", "sealwire.sidecars.backup.sealed.manifest"),
        ("sidecars/backup/sealed", "sealwire.sidecars.backup.archive.blocks"),
        ("sidecars/backup/keeping", "sealwire.sidecars.backup.dumping.readers"),
        ("sidecars/luks/volume", "sealwire.sidecars.luks.migration.journal"),
        ("sidecars/tls_check/connection", "sealwire.sidecars.tls_check.judging.rules"),
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
    ],
)
def test_a_planted_import_breaks_a_contract(copied_rooms: Path, room: str, module: str) -> None:
    planted = copied_rooms / room / "planted.py"
    planted.write_text(f"import {module}\n", encoding="utf-8")
    try:
        done = lint_imports(copied_rooms)
    finally:
        planted.unlink()
    assert done.returncode == 1
    assert f"sealwire.{room.replace('/', '.')}.planted -> {module}" in done.stdout
