"""Match strings with a pattern as MongoDB does: by PCRE2, within bounds.

The server's library and ours are the same, but not of the same version, and the binding sets options that the
server does not. A pattern is used only if it consists of what both read alike; any other is refused.

Source: MongoDB's manual on `$regex`; pcre2pattern(3), pcre2unicode(3), and pcre2limit(3).
"""

import re
from typing import Final, final

import pcre2

from sealwire.policies.errors import Reason, Refusal

MAX_PATTERN_BYTES: Final = 1024
MAX_TEXT_BYTES: Final = 1 << 14
"""A longer string is not searched: its question is refused. A step may look at all of it: 80 ms at most."""
_STEPS: Final = 20_000
"""What matching one string may take, as PCRE2 counts it: some 0.2 ms."""

_HEAD: Final = b"(*LF)(*UTF)(*LIMIT_MATCH=%d)(*LIMIT_DEPTH=500)(*LIMIT_HEAP=512)" % _STEPS
"""As the server compiles patterns: UTF-8 without Unicode's classes of characters; and the limits."""

_OPTIONS: Final = frozenset(b"imsxu")
"""`u` is what the server does anyway."""

_ESCAPES: Final = frozenset(b"dDwWsSbBAZzhHvVRtnrfea123456789")
_GROUPS: Final = re.compile(rb"\?(?:[:=!>]|<[=!]|P?<[A-Za-z_][A-Za-z0-9_]{0,31}>|[imsx]*(?:-[imsx]+)?[:)])")
_QUANTIFIERS: Final = frozenset(b"*+?{|")
_EXTENDED: Final = re.compile(rb"\(\?[ims]*x")
_COMMENT: Final = re.compile(rb"#[^\n]*[\[\]()\\]")
_POSIX: Final = re.compile(rb"\[:\^?[a-z]+:\]")
_QUANTIFIER: Final = re.compile(rb"\{\d+(?:,\d*)?\}")
_LATER_QUANTIFIER: Final = re.compile(rb"\{[ \t]*(?:\d+[ \t]*(?:,[ \t]*\d*[ \t]*)?|,[ \t]*\d+[ \t]*)\}")
"""Without a least number, or with spaces: text for older versions."""
_LATER_SPACES: Final = re.compile("[\u0085\u200e\u200f\u2028\u2029]")
"""Older versions do not pass over these where they pass over spaces."""
_HEX: Final = re.compile(rb"x[0-9A-Fa-f]{2}")
_LATER_LETTERS: Final = re.compile(
    "[\u13f5\u13f8-\u13fd\u1c80-\u1cbf\u1e9e\u1fd3\u1fe3\u2c2f\u2c5f\ua7ae-\ua7dc\ua7f5\ua7f6\uab70-\uabbf"
    "\ufb05\ufb06\U00010000-\U0010ffff]"
)
"""Among these are all letters whose case was told apart after Unicode 7, which the oldest servers have."""
_LATER_RANGES: Final = re.compile("-[\u13f5-\U0010ffff]")
"""The ends of ranges in which such letters may lie."""


_ALIKE: Final = re.compile(rb"[A-Za-z0-9 _,;:@'/=^$|.-]{1,200}")
"""Patterns that Python's `re` reads as PCRE2 does, in texts of ASCII: characters, ends, and alternatives."""
_ALIKE_OPTIONS: Final = frozenset(b"iu")
_MAX_ALIKE_BYTES: Final = 200
"""Nothing bounds the steps of `re`: a search takes the lengths of text and pattern multiplied, at most."""


class Undecided(Exception):
    """Whether a value satisfies a condition cannot be told as the server would."""


@final
class Pattern:
    """A pattern with its options."""

    __slots__ = ("_alike", "_ignores_case", "_search")

    def __init__(self, pattern: bytes, options: bytes) -> None:
        """Raises Refusal(PATTERN). Cost: O(pattern)."""
        _check(pattern, options)
        flags = bytes(sorted(set(options) - set(b"u")))
        head = _HEAD + (b"(?%b)" % flags if flags else b"")
        try:
            # just-in-time code would take longer to make than most questions take
            self._search = pcre2.compile(head + pattern, jit=False).search
        except pcre2.LibraryError:
            raise _refused("a pattern that PCRE2 does not take") from None
        self._ignores_case = b"i" in options or b"(?" in pattern
        self._alike: re.Pattern[bytes] | None = None
        if _ALIKE.fullmatch(pattern) and _ALIKE_OPTIONS.issuperset(options):
            # PCRE2 takes 2,000 of 8,600 instructions a text; the rest is the interpreted part of its binding
            self._alike = re.compile(pattern, re.IGNORECASE if b"i" in options else 0)

    def matches(self, text: bytes) -> bool:
        """Whether the pattern is found in a UTF-8 string.

        Raises Undecided past the limits, and for letters whose case depends on the version of Unicode.
        Cost: bounded, 1 to 2 us for a usual pattern.
        """
        if self._alike is not None and len(text) <= _MAX_ALIKE_BYTES and text.isascii():
            return self._alike.search(text) is not None
        if len(text) > MAX_TEXT_BYTES:
            raise Undecided
        try:
            if self._ignores_case and not text.isascii() and _LATER_LETTERS.search(text.decode()):
                raise Undecided
            return self._search(text) is not None
        except (pcre2.LibraryError, UnicodeDecodeError):
            raise Undecided from None


def _refused(rule: str) -> Refusal:
    return Refusal(Reason.PATTERN, rule=rule)


def _check(pattern: bytes, options: bytes) -> None:
    """Raises Refusal(PATTERN) for what servers may read differently."""
    if len(pattern) > MAX_PATTERN_BYTES:
        raise _refused(f"a pattern of more than {MAX_PATTERN_BYTES} bytes")
    if b"\0" in pattern:
        raise _refused("a pattern with a NUL")  # as the server does
    if not _OPTIONS.issuperset(options):
        raise _refused("an option of patterns other than i, m, s, x and u")
    text = _text(pattern)
    if (b"i" in options or b"(?" in pattern) and (_LATER_LETTERS.search(text) or _LATER_RANGES.search(text)):
        raise _refused("a letter whose case depends on the version of Unicode")
    if b"x" in options or _EXTENDED.search(pattern):
        if _COMMENT.search(pattern):
            raise _refused(
                "a comment with signs of patterns"
            )  # the reader takes it for a part of the pattern
        if _LATER_SPACES.search(text):
            raise _refused("a space that not all versions pass over")
    _PatternReader(pattern).read()


def _text(pattern: bytes) -> str:
    try:
        return pattern.decode()
    except UnicodeDecodeError:
        raise _refused("a pattern that is not UTF-8") from None


@final
class _PatternReader:
    """Reads a pattern once. Lookbehinds of varying length and what newer versions added are refused."""

    __slots__ = ("_at", "_groups", "_pattern")

    def __init__(self, pattern: bytes) -> None:
        self._pattern = pattern
        self._at = 0
        self._groups: list[bool] = []
        """The groups that are open: whether each is a lookbehind, or inside one."""

    def read(self) -> None:
        pattern = self._pattern
        while self._at < len(pattern):
            each = pattern[self._at : self._at + 1]
            self._at += 1
            if each == b"\\":
                self._escape()
            elif each == b"[":
                self._characters()
            elif each == b"(":
                self._group()
            elif each == b")" and self._groups:
                self._groups.pop()
            elif each == b"{" and self._is_later_quantifier():
                raise _refused("a quantifier without a least number, or with spaces")
            elif each[0] in _QUANTIFIERS and any(self._groups):
                raise _refused("a lookbehind of more than fixed text")

    def _is_later_quantifier(self) -> bool:
        """Whether newer versions alone read a quantifier here."""
        at = self._at - 1
        return bool(_LATER_QUANTIFIER.match(self._pattern, at)) and not _QUANTIFIER.match(self._pattern, at)

    def _escape(self) -> None:
        rest = self._pattern[self._at : self._at + 1]
        if rest == b"Q":
            end = self._pattern.find(b"\\E", self._at)
            self._at = len(self._pattern) if end < 0 else end + 2
        elif _HEX.match(self._pattern, self._at):
            self._at += 3
        elif not rest or (rest.isalnum() and rest[0] not in _ESCAPES) or not rest.isascii():
            raise _refused(f"\\{rest.decode('ascii', 'replace')} in a pattern")
        else:
            self._at += 1

    def _characters(self) -> None:
        """A class of characters. Its first `]` is one of them."""
        pattern = self._pattern
        self._at += pattern.startswith(b"^", self._at)
        first = self._at
        while self._at < len(pattern):
            each = pattern[self._at : self._at + 1]
            self._at += 1
            if each == b"\\":
                if pattern.startswith(b"Q", self._at):
                    raise _refused("\\Q in a class of characters")  # it hides where the class begins
                self._escape()
            elif each == b"[" and pattern[self._at : self._at + 1] in (b":", b".", b"="):
                found = _POSIX.match(pattern, self._at - 1)
                if found is None:
                    raise _refused("[ in a class of characters")
                self._at = found.end()
            elif each == b"]" and self._at > first + 1:
                return

    def _group(self) -> None:
        pattern, is_lookbehind = self._pattern, any(self._groups)
        if pattern.startswith(b"*", self._at):
            raise _refused("(* in a pattern")
        if pattern.startswith(b"?", self._at):
            found = _GROUPS.match(pattern, self._at)
            if found is None or b"xx" in found[0]:
                raise _refused("a group of this kind in a pattern")
            self._at = found.end()
            if found[0].endswith(b")"):
                return
            is_lookbehind = is_lookbehind or found[0] in (b"?<=", b"?<!")
        self._groups.append(is_lookbehind)
