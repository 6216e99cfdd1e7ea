"""docs/operations/vault.md: its command blocks, in the order in which an operator meets them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.openbao import bao_program
from tests.build_context import ROOT
from tests.integration.test_vault_path import POLICY
from tests.integration.vault_command import Command
from tests.support.doc_commands import blocks_of, run_document
from tests.support.openbao import RaftServer

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "vault.md"
# Blocks in the order of one server's life; `holders` has a test of its own.
LIFE = ("set-up", "status", "unseal", "rotate", "revoke", "kubernetes", "remove", "end-root")


def test_every_block_of_the_page_is_run() -> None:
    assert {block.name for block in blocks_of(PAGE.read_text())} == {*LIFE, "holders"}


def test_the_page_is_one_servers_life(tmp_path: Path) -> None:
    server = RaftServer(tmp_path / "bao")
    command = Command(server, tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    shutil.copy(create_authority(tmp_path / "kubernetes").certificate_file, tmp_path / "kubernetes-ca.crt")
    environ = {**command.environ, "BAO": str(bao_program())}
    said = {}
    try:
        server.start()
        for name in LIFE:
            if name == "unseal":
                server.stop()
                server.start()
            said[name] = run_document(PAGE, tmp_path, name, environ)
        assert said["status"].count("satisfied") == 16
        assert said["unseal"].splitlines()[-1] == "unsealed"
        assert "30d" in said["rotate"]
        assert "ended 1 secret ids" in said["revoke"]
        assert command.run("status", environ={"VAULT_TOKEN": "s.gone"}).code == 77
    finally:
        server.kill()


def test_shares_are_encrypted_for_their_holders(tmp_path: Path, age_on_the_path: None) -> None:
    server = RaftServer(tmp_path / "bao")
    environ = dict(Command(server, tmp_path).environ)
    for name in ("ALICE", "BOB", "CAROL"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], check=True, capture_output=True)
        shown = subprocess.run(
            ["age-keygen", "-y", tmp_path / name], check=True, capture_output=True, text=True
        )
        environ[name] = shown.stdout.strip()
    try:
        server.start()
        assert run_document(PAGE, tmp_path, "holders", environ).splitlines()[-1] == "unsealed"
        assert {path.name for path in (tmp_path / "shares").iterdir()} == {
            f"share-{number}.age" for number in (1, 2, 3)
        }
    finally:
        server.kill()
