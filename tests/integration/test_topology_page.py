"""The commands of docs/operations/topology.md, before a set that is played."""

from pathlib import Path

from tests.build_context import ROOT
from tests.support.doc_commands import run_document
from tests.support.played_set import played_set
from tests.support.skips import free_ports

PAGE = ROOT / "docs" / "operations" / "topology.md"


def test_a_proxy_that_follows_its_servers_is_set_up(tmp_path: Path) -> None:
    ports = free_ports(4)
    with played_set("", "") as played:
        environ = {"PORTS": f"{ports[0]}-{ports[-1]}", "UPSTREAM": played.uri}
        done = run_document(PAGE, tmp_path, "begin", environ)
    assert "ok: configuration" in done
    assert not (tmp_path / "ports.json").exists()
