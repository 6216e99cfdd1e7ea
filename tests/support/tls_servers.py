"""Real servers to verify: `openssl s_server` and nginx, each as strong or as weak as a test wants it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwire.testbed.child import LOOPBACK, free_port, started
from tests.support.debian import require_program

STRONG = ("-min_protocol", "TLSv1.2", "-cipher", "ECDHE+AESGCM:ECDHE+CHACHA20")
WEAK = ("-min_protocol", "TLSv1", "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")


@contextmanager
def openssl_server(pem: Path, *options: str) -> Iterator[int]:
    """`openssl s_server` with the key and the chain in `pem`; gives its port."""
    openssl = require_program("openssl", "openssl", "version")
    port = free_port()
    command: list[str | Path] = [openssl, "s_server", "-accept", f"{LOOPBACK}:{port}", "-quiet"]
    command += ["-cert", pem, "-key", pem, "-cert_chain", pem, *options]
    with started(command, port, pem.with_suffix(".log")):
        yield port


@contextmanager
def nginx(folder: Path, pem: Path, *, tls: str, https: str = "", http: str = "") -> Iterator[tuple[int, int]]:
    """nginx with a TLS server and a plain one; the texts are directives. Gives (https port, http port)."""
    program = require_program("nginx", "nginx", "-v")
    https_port, http_port = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(
        f"""
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen {LOOPBACK}:{https_port} ssl;
    ssl_certificate {pem}; ssl_certificate_key {pem};
    {tls}
    location / {{ {https} return 200 "ok"; }}
  }}
  server {{ listen {LOOPBACK}:{http_port}; location / {{ {http or 'return 200 "plain";'} }} }}
}}
"""
    )
    with started([program, "-p", folder, "-c", config], https_port, folder / "nginx.log"):
        yield https_port, http_port


class SilentServer:
    """Accepts connections and never says a word; counts them."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]

    def connections(self) -> int:
        """How many have come since it was asked last."""
        count = 0
        while True:
            try:
                self._listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._listener.close()
