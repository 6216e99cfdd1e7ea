"""Cipher suites by code point, and what published guidance says of each.

The names are those of IANA's registry. Suites of pre-shared keys, SRP, Kerberos and GOST are left out: a
server picks them only for clients that share a secret with it or belong to its country's own profile.
"""

from dataclasses import dataclass
from enum import Enum


class SuiteVerdict(Enum):
    """What guidance says of a suite, best first."""

    RECOMMENDED = "recommended"
    """Forward secrecy and an AEAD cipher that RFC 9325, NCSC and Mozilla all name."""
    SUFFICIENT = "sufficient"
    """Forward secrecy and an AEAD cipher that they do not name."""
    LEGACY = "legacy"
    """Forward secrecy with a construction that guidance phases out."""
    NO_FORWARD_SECRECY = "no-forward-secrecy"
    """Whoever records traffic reads it once he has the server's key."""
    INSECURE = "insecure"
    """Broken, or protects nothing."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One cipher suite; `why` and `source` say what the verdict rests on."""

    code: int
    name: str
    verdict: SuiteVerdict
    why: str
    source: str

    @property
    def tls13(self) -> bool:
        """True for the suites of TLS 1.3, which no older version can use, and the reverse."""
        return self.code >> 8 == 0x13


_BCP = "RFC 9325 section 4.1"
_RECOMMENDED = "RFC 9325 section 4.2, NCSC, Mozilla intermediate"
_PHASED_OUT = "NCSC TLS guidance, Mozilla intermediate"
_ECDHE_ONLY = "RFC 9325 section 4.2, which names ECDHE only"

# The first mark found in a name decides: worst first. (mark, verdict, why, source)
_MARKS: tuple[tuple[str, SuiteVerdict, str, str], ...] = (
    ("_NULL_", SuiteVerdict.INSECURE, "does not encrypt", _BCP),
    ("_anon_", SuiteVerdict.INSECURE, "does not authenticate the server", "RFC 5246 appendix A.5"),
    ("_EXPORT", SuiteVerdict.INSECURE, "40 or 56 bits, made to be broken", _BCP),
    ("_RC4_", SuiteVerdict.INSECURE, "RC4 is broken", "RFC 7465"),
    ("_DES_", SuiteVerdict.INSECURE, "56-bit keys", "RFC 5469, RFC 9325 section 4.1"),
    ("_IDEA_", SuiteVerdict.INSECURE, "blocks of 64 bits (Sweet32)", "RFC 5469"),
    ("_3DES_", SuiteVerdict.INSECURE, "blocks of 64 bits (Sweet32), 112-bit keys", _BCP),
    ("TLS_RSA_", SuiteVerdict.NO_FORWARD_SECRECY, "RSA key transport", _BCP),
    ("TLS_DH_", SuiteVerdict.NO_FORWARD_SECRECY, "static Diffie-Hellman", _BCP),
    ("TLS_ECDH_", SuiteVerdict.NO_FORWARD_SECRECY, "static Diffie-Hellman", _BCP),
    ("_CBC_", SuiteVerdict.LEGACY, "CBC with the MAC inside (Lucky 13)", _PHASED_OUT),
    ("_DHE_DSS_", SuiteVerdict.LEGACY, "DSA certificates", "FIPS 186-5, which withdraws DSA"),
    ("_DHE_", SuiteVerdict.LEGACY, "finite-field groups that nobody negotiates", _ECDHE_ONLY),
    ("_CCM_8", SuiteVerdict.LEGACY, "a tag of 64 bits", "IANA registry: not recommended"),
    ("_ARIA_", SuiteVerdict.SUFFICIENT, "not among the suites that guidance names", _RECOMMENDED),
    ("_CAMELLIA_", SuiteVerdict.SUFFICIENT, "not among the suites that guidance names", _RECOMMENDED),
    ("_CCM", SuiteVerdict.SUFFICIENT, "not among the suites that guidance names", _RECOMMENDED),
)

# Code point and name without `TLS_`, four-digit hexadecimal.
_TABLE = """
0001 RSA_WITH_NULL_MD5                        0002 RSA_WITH_NULL_SHA
0003 RSA_EXPORT_WITH_RC4_40_MD5               0004 RSA_WITH_RC4_128_MD5
0005 RSA_WITH_RC4_128_SHA                     0006 RSA_EXPORT_WITH_RC2_CBC_40_MD5
0007 RSA_WITH_IDEA_CBC_SHA                    0008 RSA_EXPORT_WITH_DES40_CBC_SHA
0009 RSA_WITH_DES_CBC_SHA                     000A RSA_WITH_3DES_EDE_CBC_SHA
000D DH_DSS_WITH_3DES_EDE_CBC_SHA             0010 DH_RSA_WITH_3DES_EDE_CBC_SHA
0011 DHE_DSS_EXPORT_WITH_DES40_CBC_SHA        0012 DHE_DSS_WITH_DES_CBC_SHA
0013 DHE_DSS_WITH_3DES_EDE_CBC_SHA            0014 DHE_RSA_EXPORT_WITH_DES40_CBC_SHA
0015 DHE_RSA_WITH_DES_CBC_SHA                 0016 DHE_RSA_WITH_3DES_EDE_CBC_SHA
0017 DH_anon_EXPORT_WITH_RC4_40_MD5           0018 DH_anon_WITH_RC4_128_MD5
0019 DH_anon_EXPORT_WITH_DES40_CBC_SHA        001A DH_anon_WITH_DES_CBC_SHA
001B DH_anon_WITH_3DES_EDE_CBC_SHA            002F RSA_WITH_AES_128_CBC_SHA
0030 DH_DSS_WITH_AES_128_CBC_SHA              0031 DH_RSA_WITH_AES_128_CBC_SHA
0032 DHE_DSS_WITH_AES_128_CBC_SHA             0033 DHE_RSA_WITH_AES_128_CBC_SHA
0034 DH_anon_WITH_AES_128_CBC_SHA             0035 RSA_WITH_AES_256_CBC_SHA
0036 DH_DSS_WITH_AES_256_CBC_SHA              0037 DH_RSA_WITH_AES_256_CBC_SHA
0038 DHE_DSS_WITH_AES_256_CBC_SHA             0039 DHE_RSA_WITH_AES_256_CBC_SHA
003A DH_anon_WITH_AES_256_CBC_SHA             003B RSA_WITH_NULL_SHA256
003C RSA_WITH_AES_128_CBC_SHA256              003D RSA_WITH_AES_256_CBC_SHA256
0040 DHE_DSS_WITH_AES_128_CBC_SHA256          0041 RSA_WITH_CAMELLIA_128_CBC_SHA
0044 DHE_DSS_WITH_CAMELLIA_128_CBC_SHA        0045 DHE_RSA_WITH_CAMELLIA_128_CBC_SHA
0046 DH_anon_WITH_CAMELLIA_128_CBC_SHA        0062 RSA_EXPORT1024_WITH_DES_CBC_SHA
0063 DHE_DSS_EXPORT1024_WITH_DES_CBC_SHA      0064 RSA_EXPORT1024_WITH_RC4_56_SHA
0065 DHE_DSS_EXPORT1024_WITH_RC4_56_SHA       0066 DHE_DSS_WITH_RC4_128_SHA
0067 DHE_RSA_WITH_AES_128_CBC_SHA256          006A DHE_DSS_WITH_AES_256_CBC_SHA256
006B DHE_RSA_WITH_AES_256_CBC_SHA256          006C DH_anon_WITH_AES_128_CBC_SHA256
006D DH_anon_WITH_AES_256_CBC_SHA256          0084 RSA_WITH_CAMELLIA_256_CBC_SHA
0087 DHE_DSS_WITH_CAMELLIA_256_CBC_SHA        0088 DHE_RSA_WITH_CAMELLIA_256_CBC_SHA
0089 DH_anon_WITH_CAMELLIA_256_CBC_SHA        0096 RSA_WITH_SEED_CBC_SHA
0099 DHE_DSS_WITH_SEED_CBC_SHA                009A DHE_RSA_WITH_SEED_CBC_SHA
009B DH_anon_WITH_SEED_CBC_SHA                009C RSA_WITH_AES_128_GCM_SHA256
009D RSA_WITH_AES_256_GCM_SHA384              009E DHE_RSA_WITH_AES_128_GCM_SHA256
009F DHE_RSA_WITH_AES_256_GCM_SHA384          00A2 DHE_DSS_WITH_AES_128_GCM_SHA256
00A3 DHE_DSS_WITH_AES_256_GCM_SHA384          00A6 DH_anon_WITH_AES_128_GCM_SHA256
00A7 DH_anon_WITH_AES_256_GCM_SHA384          00BA RSA_WITH_CAMELLIA_128_CBC_SHA256
00BD DHE_DSS_WITH_CAMELLIA_128_CBC_SHA256     00BE DHE_RSA_WITH_CAMELLIA_128_CBC_SHA256
00BF DH_anon_WITH_CAMELLIA_128_CBC_SHA256     00C0 RSA_WITH_CAMELLIA_256_CBC_SHA256
00C3 DHE_DSS_WITH_CAMELLIA_256_CBC_SHA256     00C4 DHE_RSA_WITH_CAMELLIA_256_CBC_SHA256
00C5 DH_anon_WITH_CAMELLIA_256_CBC_SHA256     1301 AES_128_GCM_SHA256
1302 AES_256_GCM_SHA384                       1303 CHACHA20_POLY1305_SHA256
1304 AES_128_CCM_SHA256                       1305 AES_128_CCM_8_SHA256
C001 ECDH_ECDSA_WITH_NULL_SHA                 C002 ECDH_ECDSA_WITH_RC4_128_SHA
C003 ECDH_ECDSA_WITH_3DES_EDE_CBC_SHA         C004 ECDH_ECDSA_WITH_AES_128_CBC_SHA
C005 ECDH_ECDSA_WITH_AES_256_CBC_SHA          C006 ECDHE_ECDSA_WITH_NULL_SHA
C007 ECDHE_ECDSA_WITH_RC4_128_SHA             C008 ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA
C009 ECDHE_ECDSA_WITH_AES_128_CBC_SHA         C00A ECDHE_ECDSA_WITH_AES_256_CBC_SHA
C00B ECDH_RSA_WITH_NULL_SHA                   C00C ECDH_RSA_WITH_RC4_128_SHA
C00D ECDH_RSA_WITH_3DES_EDE_CBC_SHA           C00E ECDH_RSA_WITH_AES_128_CBC_SHA
C00F ECDH_RSA_WITH_AES_256_CBC_SHA            C010 ECDHE_RSA_WITH_NULL_SHA
C011 ECDHE_RSA_WITH_RC4_128_SHA               C012 ECDHE_RSA_WITH_3DES_EDE_CBC_SHA
C013 ECDHE_RSA_WITH_AES_128_CBC_SHA           C014 ECDHE_RSA_WITH_AES_256_CBC_SHA
C015 ECDH_anon_WITH_NULL_SHA                  C016 ECDH_anon_WITH_RC4_128_SHA
C017 ECDH_anon_WITH_3DES_EDE_CBC_SHA          C018 ECDH_anon_WITH_AES_128_CBC_SHA
C019 ECDH_anon_WITH_AES_256_CBC_SHA           C023 ECDHE_ECDSA_WITH_AES_128_CBC_SHA256
C024 ECDHE_ECDSA_WITH_AES_256_CBC_SHA384      C027 ECDHE_RSA_WITH_AES_128_CBC_SHA256
C028 ECDHE_RSA_WITH_AES_256_CBC_SHA384        C02B ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
C02C ECDHE_ECDSA_WITH_AES_256_GCM_SHA384      C02D ECDH_ECDSA_WITH_AES_128_GCM_SHA256
C02E ECDH_ECDSA_WITH_AES_256_GCM_SHA384       C02F ECDHE_RSA_WITH_AES_128_GCM_SHA256
C030 ECDHE_RSA_WITH_AES_256_GCM_SHA384        C031 ECDH_RSA_WITH_AES_128_GCM_SHA256
C032 ECDH_RSA_WITH_AES_256_GCM_SHA384         C050 RSA_WITH_ARIA_128_GCM_SHA256
C051 RSA_WITH_ARIA_256_GCM_SHA384             C052 DHE_RSA_WITH_ARIA_128_GCM_SHA256
C053 DHE_RSA_WITH_ARIA_256_GCM_SHA384         C056 DHE_DSS_WITH_ARIA_128_GCM_SHA256
C057 DHE_DSS_WITH_ARIA_256_GCM_SHA384         C05C ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256
C05D ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384     C060 ECDHE_RSA_WITH_ARIA_128_GCM_SHA256
C061 ECDHE_RSA_WITH_ARIA_256_GCM_SHA384       C072 ECDHE_ECDSA_WITH_CAMELLIA_128_CBC_SHA256
C073 ECDHE_ECDSA_WITH_CAMELLIA_256_CBC_SHA384 C076 ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256
C077 ECDHE_RSA_WITH_CAMELLIA_256_CBC_SHA384   C09C RSA_WITH_AES_128_CCM
C09D RSA_WITH_AES_256_CCM                     C09E DHE_RSA_WITH_AES_128_CCM
C09F DHE_RSA_WITH_AES_256_CCM                 C0A0 RSA_WITH_AES_128_CCM_8
C0A1 RSA_WITH_AES_256_CCM_8                   C0A2 DHE_RSA_WITH_AES_128_CCM_8
C0A3 DHE_RSA_WITH_AES_256_CCM_8               C0AC ECDHE_ECDSA_WITH_AES_128_CCM
C0AD ECDHE_ECDSA_WITH_AES_256_CCM             C0AE ECDHE_ECDSA_WITH_AES_128_CCM_8
C0AF ECDHE_ECDSA_WITH_AES_256_CCM_8           CCA8 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
CCA9 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 CCAA DHE_RSA_WITH_CHACHA20_POLY1305_SHA256
"""


def judge(code: int, name: str) -> Suite:
    """The suite with its verdict, from the marks in its IANA name."""
    for mark, verdict, why, source in _MARKS:
        if mark in name:
            return Suite(code, name, verdict, why, source)
    return Suite(code, name, SuiteVerdict.RECOMMENDED, "forward secrecy, AEAD", _RECOMMENDED)


def _read_table() -> dict[int, Suite]:
    words = _TABLE.split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return {int(code, 16): judge(int(code, 16), f"TLS_{name}") for code, name in pairs}


SUITES: dict[int, Suite] = _read_table()
"""Every suite that is offered to servers, by code point."""
