"""A secret of 32 bytes in n shares, of which any k give it back and k - 1 tell nothing.

SLIP-39 by the library that its authors keep: each share is 33 words with a checksum, which can be written on
paper. The library's own texts quote words of shares, so none of them is passed on.
Source: SLIP-0039, Shamir's secret sharing for mnemonic codes.
"""

from collections.abc import Sequence

from shamir_mnemonic import (  # type: ignore[import-untyped]
    MnemonicError,
    Share,
    combine_mnemonics,
    generate_mnemonics,
)

from sealwire.keys.errors import KekDenied, KeySettingError, KeysReason

MIN_THRESHOLD = 2
MAX_SHARES = 16
MAX_SHARE_BYTES = 1024


def split(secret: bytes, threshold: int, count: int) -> list[str]:
    """`count` shares, of which `threshold` are needed. Raises KeySettingError SHARES for other numbers."""
    if not MIN_THRESHOLD <= threshold <= count <= MAX_SHARES:
        raise KeySettingError(
            KeysReason.SHARES,
            f"{threshold} of {count} shares cannot be made",
            f"need at least {MIN_THRESHOLD} of them to open, of {MAX_SHARES} at most",
        )
    return list(generate_mnemonics(1, [(threshold, count)], secret)[0])


def combine(shares: Sequence[str]) -> bytes:
    """The secret of which these are shares; more than are needed may be given, and any one twice.

    Raises KekDenied SHARES, which names the share by its place in the order, never by a word.
    """
    parsed = {}
    for number, text in enumerate(shares, 1):
        try:
            share = Share.from_mnemonic(text)
        except (MnemonicError, ValueError):
            raise _denied(f"share {number} is not one: a word is wrong, or missing") from None
        parsed[share.identifier, share.index] = (text, share.member_threshold)
    if len({identifier for identifier, _ in parsed}) > 1:
        raise _denied("the shares are of different exports")
    needed = max((threshold for _, threshold in parsed.values()), default=MIN_THRESHOLD)
    if len(parsed) < needed:
        raise _denied(f"{needed} different shares are needed, and {len(parsed)} were given")
    try:
        return bytes(combine_mnemonics([text for text, _ in parsed.values()][:needed]))
    except (MnemonicError, ValueError):
        raise _denied("the shares do not belong together") from None


def _denied(problem: str) -> KekDenied:
    return KekDenied(KeysReason.SHARES, problem, "ask the holders for shares of this export, word by word")
