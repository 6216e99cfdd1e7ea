"""What docs/operations/tls.md lets operators try works as it stands there."""

import os
import sys
from pathlib import Path

import pytest

from sealwire.testbed.child import free_port
from tests.build_context import ROOT
from tests.support.debian_programs import require_program
from tests.support.doc_commands import run_document

pytestmark = pytest.mark.integration


def test_a_sound_server_passes_and_a_weak_one_does_not(tmp_path: Path) -> None:
    openssl = require_program("openssl", "openssl", "version")
    path = f"{Path(sys.executable).parent}:{openssl.parent}:{os.environ['PATH']}"
    environ = {"PORT": str(free_port()), "PATH": path}
    said = run_document(ROOT / "docs" / "operations" / "tls.md", tmp_path, "try", environ)
    sound, _, weak = said.partition("pass failures: 0")
    assert "fail" not in sound
    assert "suite-no-forward-secrecy" in weak
    assert "exit code 1" in weak
    assert (tmp_path / "try.html").read_text().startswith("<!doctype html>")
