"""Alerts as signed HTTP requests. Source: Standard Webhooks 1.0 (github.com/standard-webhooks).

The signature is an HMAC-SHA-256 over id, time and body. Who receives it knows by it who sent it, by the time
that it is not an old one, and by the id whether it has come before.
"""

import hmac
import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, final

import requests

from sealwire.keys.private_file import read_private
from sealwire.sidecars.detection.errors import DeliveryFailed, DetectionReason, UnusableWatchFile
from sealwire.sidecars.detection.rules_file import WebhookSettings

_PREFIX: Final = "whsec_"
_FEWEST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_MAX_FILE_BYTES: Final = 1024
_ACCEPTED: Final = range(200, 300)


def read_secret(path: Path) -> bytes:
    """The secret in a file that only its owner reads: `whsec_` and 24 to 64 bytes in base64.

    Raises UnusableWatchFile; KeysError as `read_private`.
    """
    try:
        text = read_private(path, _MAX_FILE_BYTES).decode("ascii").strip()
        secret = b64decode(text.removeprefix(_PREFIX), validate=True)
    except (UnicodeDecodeError, NotBase64):
        secret, text = b"", ""
    if not text.startswith(_PREFIX) or not _FEWEST_BYTES <= len(secret) <= _MOST_BYTES:
        raise UnusableWatchFile(
            DetectionReason.SECRET,
            f"{path} is no secret of a webhook",
            "write whsec_ and 32 random bytes in base64 into it",
        )
    return secret


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + b64encode(hmac.digest(secret, signed, sha256)).decode()


def _now() -> datetime:
    return datetime.now(UTC)


@final
class WebhookChannel:
    """Posts each alert to one address."""

    name = "webhook"

    def __init__(self, settings: WebhookSettings, origin: str, clock: Callable[[], datetime] = _now) -> None:
        """`origin` tells the ids of this installation from those of others.

        Raises UnusableWatchFile; KeysError as `read_private`.
        """
        self._settings, self._origin, self._clock = settings, origin, clock
        self._secret = read_secret(settings.secret)
        if settings.ca is not None and not settings.ca.is_file():
            raise UnusableWatchFile(
                DetectionReason.RULES_FILE, f"{settings.ca} does not exist", "correct tell.webhook.ca"
            )
        self._session = requests.Session()
        # neither proxies nor passwords of ~/.netrc: alerts go where the file says and nowhere else
        self._session.trust_env = False
        self._session.verify = True if settings.ca is None else str(settings.ca)

    def __repr__(self) -> str:
        return "WebhookChannel()"

    def tell(self, alert: dict[str, Any]) -> None:
        """Post it. Raises DeliveryFailed."""
        now = self._clock()
        message_id = f"{self._origin}.{alert['id']}"
        document = {"type": "sealwire.alert", "timestamp": now.isoformat(timespec="seconds"), "data": alert}
        body = json.dumps(document, sort_keys=True).encode()
        timestamp = int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "user-agent": "sealwire",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secret, message_id, timestamp, body),
        }
        status = self._post(body, headers)
        if status not in _ACCEPTED:
            raise DeliveryFailed(
                DetectionReason.REJECTED, f"the webhook answers with {status}", "see the log of its service"
            )

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            # the answer's body is not read, however long it is
            with self._session.post(
                self._settings.url,
                data=body,
                headers=headers,
                timeout=self._settings.timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                return response.status_code
        except (requests.RequestException, OSError, ValueError) as error:
            raise DeliveryFailed(
                DetectionReason.UNREACHABLE,
                f"the webhook cannot be reached: {type(error).__name__}",
                "check tell.webhook in the file of the rules, and the way there",
            ) from None
