"""The table of suites is right about names, and its verdicts are those of the guidance."""

import re
import subprocess

import pytest

from sealwire.sidecars.tls_check.suites import SUITES, Verdict
from tests.support.debian_programs import require_program

BY_NAME = {suite.name: suite for suite in SUITES.values()}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("TLS_AES_128_GCM_SHA256", Verdict.RECOMMENDED),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Verdict.RECOMMENDED),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Verdict.RECOMMENDED),
        ("TLS_ECDHE_RSA_WITH_ARIA_128_GCM_SHA256", Verdict.SUFFICIENT),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", Verdict.LEGACY),
        ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Verdict.LEGACY),
        ("TLS_DHE_RSA_WITH_AES_256_GCM_SHA384", Verdict.LEGACY),
        ("TLS_RSA_WITH_AES_256_GCM_SHA384", Verdict.NO_FORWARD_SECRECY),
        ("TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256", Verdict.NO_FORWARD_SECRECY),
        ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", Verdict.INSECURE),
        ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", Verdict.INSECURE),
        ("TLS_ECDHE_RSA_WITH_NULL_SHA", Verdict.INSECURE),
        ("TLS_DH_anon_WITH_AES_256_GCM_SHA384", Verdict.INSECURE),
        ("TLS_RSA_EXPORT_WITH_DES40_CBC_SHA", Verdict.INSECURE),
        ("TLS_RSA_WITH_DES_CBC_SHA", Verdict.INSECURE),
    ],
)
def test_a_suite_has_the_verdict_of_the_guidance(name: str, verdict: Verdict) -> None:
    assert BY_NAME[name].verdict is verdict


def test_recommended_is_exactly_what_the_guidance_names() -> None:
    named = re.compile(r"TLS_(ECDHE_(RSA|ECDSA)_WITH_)?(AES_(128|256)_GCM|CHACHA20_POLY1305)_SHA(256|384)")
    recommended = {suite.name for suite in SUITES.values() if suite.verdict is Verdict.RECOMMENDED}
    assert recommended == {name for name in BY_NAME if named.fullmatch(name)}
    assert len(recommended) == 9


def test_no_name_stands_twice() -> None:
    assert len(BY_NAME) == len(SUITES)


def test_every_suite_that_openssl_can_serve_is_in_the_table_under_its_name() -> None:
    openssl = require_program("openssl", "openssl", "version")
    arguments = ("ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    listing = subprocess.run([openssl, *arguments], capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"0x(..),0x(..) - (TLS_\S+)", listing)
    offered = {int(high + low, 16): name for high, low, name in rows if not re.search("PSK|SRP", name)}
    assert len(offered) > 50
    assert {code: SUITES[code].name for code in offered} == offered
