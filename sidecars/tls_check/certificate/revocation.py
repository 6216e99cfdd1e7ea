"""Whether an authority has revoked a certificate: by the stapled OCSP response, and if asked by OCSP or CRL.

An answer counts only if the issuer signed it (or somebody the issuer named for this), it is about this
certificate, and it is not out of date. Asking sends the certificate's serial number to the authority.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from http.client import HTTPException
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from sealwire.sidecars.tls_check.certificate.certificate import describe

MAX_ANSWER_BYTES = 16 << 20
"""The largest CRLs of public authorities have some megabytes."""
_CLOCK_TOLERANCE = timedelta(minutes=5)


class Status(Enum):
    """What is known of a certificate's revocation."""

    NOT_ASKED = "not asked"
    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """Asked, and no answer that counts."""


class Via(Enum):
    """Where the answer came from."""

    NOTHING = "-"
    STAPLE = "stapled OCSP"
    OCSP = "OCSP"
    CRL = "CRL"


@dataclass(frozen=True, slots=True)
class Revocation:
    """The status, where it came from, and whether the server stapled something that does not count."""

    status: Status = Status.NOT_ASKED
    via: Via = Via.NOTHING
    stapled: bool = False
    staple_valid: bool = False


Fetch = Callable[[str, bytes | None], bytes]
"""GETs a URL, or POSTs a body to it. Raises OSError when there is no answer."""


def check_revocation(
    certificate: x509.Certificate, issuer: x509.Certificate | None, staple: bytes, fetch: Fetch | None
) -> Revocation:
    """The revocation of `certificate`.

    Shape:   `staple` DER or empty; `fetch` None: the authority is not asked
    Source:  RFC 6960 sections 3.2, 4.2.2.2; RFC 5280 section 6.3
    """
    status, via = _judge_ocsp(staple, certificate, issuer), Via.STAPLE
    valid = status is not Status.UNKNOWN
    if not valid:
        status, via = (Status.NOT_ASKED, Via.NOTHING) if fetch is None else _ask(certificate, issuer, fetch)
    return Revocation(status, via, bool(staple), valid)


def _ask(certificate: x509.Certificate, issuer: x509.Certificate | None, fetch: Fetch) -> tuple[Status, Via]:
    facts = describe(certificate)
    if issuer is not None:
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1()).build()  # noqa: S303 - names the issuer, as responders expect
        body = request.public_bytes(serialization.Encoding.DER)
        for url in facts.ocsp[:2]:
            status = _judge_ocsp(_try(fetch, url, body), certificate, issuer)
            if status is not Status.UNKNOWN:
                return status, Via.OCSP
        for url in facts.crl[:2]:
            status = _judge_crl(_try(fetch, url, None), certificate, issuer)
            if status is not Status.UNKNOWN:
                return status, Via.CRL
    return Status.UNKNOWN, Via.NOTHING


def _try(fetch: Fetch, url: str, body: bytes | None) -> bytes:
    try:
        return fetch(url, body)
    except OSError:
        return b""


def _judge_ocsp(der: bytes, certificate: x509.Certificate, issuer: x509.Certificate | None) -> Status:
    if issuer is None or not der:
        return Status.UNKNOWN
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return Status.UNKNOWN
        counts = (
            _is_about(response, certificate, issuer)
            and _current(response.this_update_utc, response.next_update_utc)
            and _signed_for(response, issuer)
        )
    except (ValueError, UnsupportedAlgorithm):
        return Status.UNKNOWN
    said = {ocsp.OCSPCertStatus.GOOD: Status.GOOD, ocsp.OCSPCertStatus.REVOKED: Status.REVOKED}
    return said.get(response.certificate_status, Status.UNKNOWN) if counts else Status.UNKNOWN


def _is_about(response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """The response's certificate id is the one that a request would carry."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, response.hash_algorithm)
    wanted = builder.build()
    return (
        response.serial_number == wanted.serial_number
        and response.issuer_name_hash == wanted.issuer_name_hash
        and response.issuer_key_hash == wanted.issuer_key_hash
    )


def _signed_for(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> bool:
    """Signed by the issuer, or by a responder whose certificate the issuer made for this purpose."""
    for signer in (issuer, *_responders(response, issuer)):
        try:
            _verify(signer.public_key(), response)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm, TypeError):
            continue
        return True
    return False


def _responders(response: ocsp.OCSPResponse, issuer: x509.Certificate) -> Iterable[x509.Certificate]:
    for candidate in response.certificates[:4]:
        try:
            candidate.verify_directly_issued_by(issuer)
            usage = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
            continue
        if ExtendedKeyUsageOID.OCSP_SIGNING in usage and _current(
            candidate.not_valid_before_utc, candidate.not_valid_after_utc
        ):
            yield candidate


def _verify(key: object, response: ocsp.OCSPResponse) -> None:
    algorithm = response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        key.verify(signature, signed)
    else:
        raise InvalidSignature


def _judge_crl(content: bytes, certificate: x509.Certificate, issuer: x509.Certificate) -> Status:
    if not content:
        return Status.UNKNOWN
    try:
        load = x509.load_pem_x509_crl if content.startswith(b"-----") else x509.load_der_x509_crl
        crl = load(content)
        counts = (
            crl.issuer == issuer.subject
            and _current(crl.last_update_utc, crl.next_update_utc)
            and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # others: TypeError
        )
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return Status.UNKNOWN
    known = Status.GOOD if entry is None else Status.REVOKED
    return known if counts else Status.UNKNOWN


def _current(this_update: datetime, next_update: datetime | None) -> bool:
    now = datetime.now(UTC)
    return this_update - _CLOCK_TOLERANCE <= now and (next_update is None or now <= next_update)


class _NoRedirects(HTTPRedirectHandler):
    """An authority's address is in the certificate; nobody else's is followed."""

    def redirect_request(self, *_: object) -> None:
        return None


def http_fetch(timeout_s: float) -> Fetch:
    """A Fetch over plain http, as RFC 6960 and 5280 have it (the answers are signed). No other scheme."""
    opener = build_opener(_NoRedirects)

    def fetch(url: str, body: bytes | None) -> bytes:
        headers = {"Content-Type": "application/ocsp-request"} if body is not None else {}
        try:
            if urlsplit(url).scheme not in ("http", "https"):
                raise OSError
            with opener.open(Request(url, body, headers), timeout=timeout_s) as answer:  # noqa: S310 - checked
                content: bytes = answer.read(MAX_ANSWER_BYTES + 1)
        except (URLError, HTTPException, ValueError):
            raise OSError from None
        if len(content) > MAX_ANSWER_BYTES:
            raise OSError
        return content

    return fetch
