"""`sealwire tls verify` against real web servers: what it demands of them besides their TLS."""

from pathlib import Path

import pytest

from tests.integration.tls_verify_command import verify
from tests.support.tls_servers import nginx

pytestmark = pytest.mark.integration

GOOD_WEB = "ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;"

HSTS = 'add_header Strict-Transport-Security "max-age=31536000";'


def test_a_sound_web_server_is_clean(tmp_path: Path, sound: Path, ca: Path) -> None:
    redirect = "return 301 https://$host$request_uri;"
    with nginx(tmp_path, sound, tls=GOOD_WEB, https=HSTS, http=redirect) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain, "--strict")
    assert (found.code, found.rules) == (0, set())
    assert found.endpoint()["plaintext"] == "redirected to https"


def test_a_web_server_without_redirect_and_hsts_is_not(tmp_path: Path, sound: Path, ca: Path) -> None:
    tls = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ECDHE+AES:@SECLEVEL=0;"
    with nginx(tmp_path, sound, tls=tls) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain)
    assert found.rules == {
        "http-not-redirected",
        "hsts-missing",
        "no-tls13",
        "protocol-tls10",
        "protocol-tls11",
        "suite-legacy",
    }


def test_a_redirect_to_another_host_does_not_count(tmp_path: Path, sound: Path, ca: Path) -> None:
    redirect = "return 301 https://elsewhere.example/;"
    with nginx(tmp_path, sound, tls=GOOD_WEB, https=HSTS, http=redirect) as (https, plain):
        found = verify(f"https://localhost:{https}/", "--ca", ca, "--http-port", plain)
    assert found.rules == {"http-not-redirected"}
