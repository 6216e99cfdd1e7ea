"""TLS for tests of the proxy: its own settings, and the contexts of servers and clients around it."""

import ssl
from pathlib import Path
from typing import Any

from sealwire.proxy.server.config.settings import ListenTls, TlsMode
from sealwire.testbed.certificates import Authority, Issued


def serving(issued: Issued, **more: Any) -> ListenTls:
    return ListenTls(TlsMode.TLS, issued.certificate, issued.key, **more)


def server_context(issued: Issued, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(authority: Authority, certificate: Issued | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if certificate is not None:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context
