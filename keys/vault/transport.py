"""HTTP to Vault: TLS as everywhere in Sealwire, no redirect, no proxy, answers of bounded length."""

import ssl
from typing import Any

import requests
from hvac import Client
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.vault.settings import VaultSettings

# A keyring of 8 MiB in base64 inside JSON; everything else is a few hundred bytes.
MAX_ANSWER_BYTES = 16 * 1024 * 1024


def make_client(settings: VaultSettings) -> Client:
    """A client without a token. Opens no connection. Raises KeySettingError VAULT_SETTING for TLS files."""
    session = requests.Session()
    # No .netrc, proxy or other authority from the environment: a token goes where the settings say.
    session.trust_env = False
    session.headers["Accept-Encoding"] = "identity"
    session.mount("http://", _Transport())
    session.mount("https://", _Transport(tls_context(settings)))
    return Client(
        settings.address,
        token="",  # None would make hvac look in the environment and the home directory
        cert=False,
        verify=True,
        timeout=(settings.timeout_s, settings.timeout_s),
        # requests would send the token to wherever a redirect leads.
        allow_redirects=False,
        session=session,
        namespace=settings.namespace,
    )


def tls_context(settings: VaultSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer, the server's name and chain verified. Raises KeySettingError VAULT_SETTING."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.certificate is not None:
            # The password callback refuses: without it OpenSSL would ask on the terminal.
            context.load_cert_chain(settings.certificate, settings.key, password=_refuse_password)
    except (OSError, ValueError):
        raise KeySettingError(
            KeysReason.VAULT_SETTING,
            "the CA, certificate or key for Vault cannot be loaded",
            "check that the files exist, are readable PEM, belong together and have no passphrase",
        ) from None
    return context


def _refuse_password() -> str:
    raise ValueError("the key has a passphrase")


class _Transport(HTTPAdapter):
    """One context for all connections, in place of what requests would put together from its arguments."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing. The context verifies, and requests would add the authorities of certifi."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(*args, **kwargs)
        response.raw = BoundedBody(response.raw, MAX_ANSWER_BYTES)
        if response.is_redirect:
            response.close()
            raise requests.exceptions.TooManyRedirects
        return response


class BoundedBody:
    """The body of an answer, of `limit` bytes at most; more raises `requests.ContentDecodingError`."""

    def __init__(self, raw: Any, limit: int) -> None:
        self._raw = raw
        self._left = limit

    def read(self, amount: int) -> bytes:
        """At most `amount` bytes; the rest of the answer is not read once the limit is passed."""
        try:
            chunk: bytes = self._raw.read(min(amount, self._left + 1), decode_content=False)
        except (HTTPError, OSError):
            raise requests.exceptions.ConnectionError from None
        self._left -= len(chunk)
        if self._left < 0:
            self.close()
            raise requests.exceptions.ContentDecodingError
        return chunk

    def close(self) -> None:
        """Close the connection below."""
        self._raw.close()

    def release_conn(self) -> None:
        """Give the connection back to its pool."""
        self._raw.release_conn()
