"""The commands of docs/operations/install.md, from an empty folder to a proxy that is watched."""

from pathlib import Path

import pytest

from sealwire.testbed.ports import free_port
from tests.build_context import ROOT
from tests.support.doc_commands import run_document
from tests.support.secantus import secantus

PAGE = ROOT / "docs" / "operations" / "install.md"


@pytest.mark.integration
def test_from_nothing_to_a_proxy_that_is_watched(tmp_path: Path) -> None:
    with secantus(tmp_path) as database:
        environ = {
            "MONGO": f"127.0.0.1:{database.port}",
            "SEALWIRE_LISTEN_ADDRESS": f"127.0.0.1:{free_port()}",
            "SEALWIRE_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        done = run_document(PAGE, tmp_path, "begin", environ)
    assert "still to be made" in done
    assert (tmp_path / "keyring.json").exists()
    assert "sealwire_build_info" in done
