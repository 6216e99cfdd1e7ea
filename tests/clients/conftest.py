"""The two ways that every client's program is run on."""

from collections.abc import Iterator

import pytest

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.proxy_process import ProxyProcess
from tests.clients.harness import POLICY, Ways, nothing_in_clear
from tests.support.proxied import options_of
from tests.support.secantus import ROOT, secantus


@pytest.fixture(scope="session")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """Two servers, Sealwire before one of them with TLS. Its end looks for plaintext. Cost: 12 s."""
    folder = tmp_path_factory.mktemp("clients")
    authority = create_authority(folder / "certificates")
    (folder / "plain").mkdir()
    (folder / "covered").mkdir()
    with (
        secantus(folder / "plain", users=(ROOT,)) as plain,
        secantus(folder / "covered", users=(ROOT,)) as covered,
    ):
        upstream = {"address": covered.address, "tls": {"mode": "plaintext"}}
        options = options_of(folder, POLICY, covered.address, authority, settings={"upstream": upstream})
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("SEALWIRE_LISTEN_COMPRESSION", "zlib")
            proxy = ProxyProcess(options)
        with proxy:
            found = Ways(plain, covered, proxy)
            with proxy.connect(ROOT) as client:
                assert client.admin.command("hello", compression=["zlib"])["compression"] == ["zlib"]
            yield found
    nothing_in_clear(found)
