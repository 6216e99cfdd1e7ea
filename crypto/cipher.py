"""Encrypt and decrypt the values of one class under one key version.

This is the inner loop of the proxy: the library's AES-SIV takes 0.9 us for a short value on the reference
machine. `short_siv`, in builds that have it, takes 0.3 us, and below 0.1 us for one of many that are opened
together. The Python around it must stay well below that. Hence headers and associated data are made once per
BSON type and found by one dict look-up, and sealing and opening do nothing else but check a length.
"""

from os import urandom
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from librt.strings import BytesWriter, read_i64_le, write_i64_le

from sealwire.crypto import errors
from sealwire.crypto.envelope import (
    ENCRYPTABLE_TYPES,
    HEADER_BYTES,
    KEY_BYTES,
    MAX_VALUE_BYTES,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    EnvelopeHeader,
    EnvelopeMode,
    associated_data,
    parse_header,
    serialize_header,
)
from sealwire.crypto.short_siv import IS_IN_USE, SHORT_BYTES, ShortSiv, SivKey
from sealwire.crypto.unpicklable import refuse_to_serialise

TAG_BYTES: Final = 16
_PLACE_BYTES: Final = 8
_RANDOM_BODY: Final = HEADER_BYTES + NONCE_BYTES
_DETERMINISTIC_OVERHEAD: Final = OVERHEAD_BYTES[EnvelopeMode.DETERMINISTIC]

# Below a block, a block, above it, two, and the longest.
_CHECKED_LENGTHS: Final = (1, 15, 16, 17, 32, 47, SHORT_BYTES)


@final
class OpenedTogether:
    """Short values with one header, in one buffer, that are opened by one call."""

    __slots__ = ("_places", "_short")

    def __init__(self, short: ShortSiv) -> None:
        self._short = short
        self._places = BytesWriter()

    def add(self, start: int, end: int) -> int:
        """Take the envelope there, whose header is known to be this one; return how long its value will be.

        0: it is not short, or malformed, and was not taken.
        """
        length = end - start - _DETERMINISTIC_OVERHEAD
        if not 0 < length <= SHORT_BYTES:
            return 0
        write_i64_le(self._places, start + HEADER_BYTES)
        write_i64_le(self._places, length)
        return length

    def values(self, buf: bytes) -> list[bytes]:
        """The values in the order in which they were added. Raises DecryptionFailed if any does not open."""
        try:
            return self._short.open(buf, self._places.getvalue())
        except InvalidTag:
            raise errors.DecryptionFailed from None


@final
class HeaderCipher:
    """What seals and opens the envelopes of one header: of one class, key version, mode and BSON type."""

    __slots__ = ("_decrypt", "_encrypt", "_is_random", "_overhead", "_parts", "_short", "bson_type", "header")

    def __init__(
        self, siv: AESSIV, header: bytes, mode: EnvelopeMode, bson_type: int, short: ShortSiv | None = None
    ) -> None:
        """`short`, where it is given, seals and opens short values. Deterministic mode only."""
        self.header = header
        self.bson_type = bson_type
        self._encrypt = siv.encrypt
        self._decrypt = siv.decrypt
        # of the deterministic mode; AESSIV reads the list and never changes it
        self._parts = associated_data(header)
        self._overhead = OVERHEAD_BYTES[mode]
        self._is_random = mode is EnvelopeMode.RANDOM
        self._short = short

    def __repr__(self) -> str:
        return f"HeaderCipher(bson_type={self.bson_type})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def seal(self, value: bytes) -> bytes:
        """The envelope of `value`. Raises UnsupportedValue. Cost: O(n), two copies."""
        if not 0 < len(value) <= MAX_VALUE_BYTES:
            raise errors.UnsupportedValue(errors.ValueReason.TOO_LONG if value else errors.ValueReason.EMPTY)
        if self._short is not None and len(value) <= SHORT_BYTES:
            return self._short.seal_one(value)
        header = self.header
        if not self._is_random:
            return header + self._encrypt(value, self._parts)
        # From the kernel and not from a generator in this process: forked workers would repeat its state.
        # (A repeated nonce would still only show that two equal values are equal.)
        nonce = urandom(NONCE_BYTES)
        return header + nonce + self._encrypt(value, associated_data(header, nonce))

    def open(self, buf: bytes, start: int, end: int) -> bytes:
        """The value in the envelope that lies from `start` to `end`, whose header is known to be this one.

        Raises InvalidEnvelope LENGTH, DecryptionFailed. Cost: O(n), two copies.
        """
        length = end - start - self._overhead
        if not 0 < length <= MAX_VALUE_BYTES:
            raise errors.InvalidEnvelope(errors.EnvelopeReason.LENGTH)
        body = start + HEADER_BYTES
        try:
            if self._short is not None and length <= SHORT_BYTES:
                return self._short.open_one(buf, body, end)
            if not self._is_random:
                return self._decrypt(buf[body:end], self._parts)
            parts = associated_data(self.header, buf[body : start + _RANDOM_BODY])
            return self._decrypt(buf[start + _RANDOM_BODY : end], parts)
        except InvalidTag:
            raise errors.DecryptionFailed from None

    def together(self) -> OpenedTogether | None:
        """An opener of many short values of one buffer by one call; None where each is opened by itself."""
        return None if self._short is None else OpenedTogether(self._short)

    def seal_all(self, values: list[bytes]) -> list[bytes]:
        """The envelopes of `values`, in their order. Raises UnsupportedValue. Cost: as `seal`, or less."""
        if self._short is None:
            return [self.seal(value) for value in values]
        short = [value for value in values if 0 < len(value) <= SHORT_BYTES]
        sealed = self._short.seal(short) if short else []
        if len(sealed) == len(values):
            return sealed
        in_turn = iter(sealed)
        return [next(in_turn) if 0 < len(value) <= SHORT_BYTES else self.seal(value) for value in values]


@final
class SealedGroup:
    """Values of one header, and the places of their envelopes among others."""

    __slots__ = ("_places", "cipher", "values")

    def __init__(self, cipher: HeaderCipher) -> None:
        self.cipher = cipher
        self.values: list[bytes] = []
        self._places = BytesWriter()
        """64-bit numbers: objects took 190 of 8,900 instructions more for each value of an insert."""

    def add(self, place: int, value: bytes) -> None:
        """Take a value, whose envelope gets this place."""
        write_i64_le(self._places, place)
        self.values.append(value)

    def put_into(self, found: list[bytes]) -> None:
        """Put the envelopes to their places. Raises UnsupportedValue."""
        places = self._places.getvalue()
        for index, envelope in enumerate(self.cipher.seal_all(self.values)):
            found[read_i64_le(places, index * _PLACE_BYTES)] = envelope


@final
class SealedTogether:
    """Values that are sealed by few calls: one for those of the same header."""

    __slots__ = ("_groups", "_size")

    def __init__(self, size: int) -> None:
        """`size`: so many places there are."""
        self._groups: dict[HeaderCipher, SealedGroup] = {}
        self._size = size

    def group(self, cipher: HeaderCipher) -> SealedGroup:
        """The group of the values that `cipher` is to seal."""
        group = self._groups.get(cipher)
        if group is None:
            group = self._groups[cipher] = SealedGroup(cipher)
        return group

    def envelopes(self) -> list[bytes]:
        """The envelope at each place; b"" where there is no value. Raises UnsupportedValue."""
        found = [b""] * self._size
        for group in self._groups.values():
            group.put_into(found)
        return found


@final
class ValueCipher:
    """AES-256-SIV under the key of one class and version.

    Deterministic encryption shows which values of a class are equal, and how long every value is; random
    encryption shows lengths only. Safe to share between threads and sessions: nothing changes after
    construction. (A short value needs the same AES object for a moment, which the interpreter's lock keeps.)
    """

    __slots__ = ("_siv", "_to_deterministic", "_to_random", "by_header", "class_id", "key_version", "named")

    def __init__(
        self, key: bytes, class_id: int, key_version: int, lender: tuple[int, int] | None = None
    ) -> None:
        """`key`: 64 bytes. `lender`: class id and key version whose key it is, if it is borrowed.

        Raises ValueError for another length, InvalidEnvelope for an id out of range.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a data key is {KEY_BYTES} bytes long")
        siv = self._siv = AESSIV(key)
        self.class_id = class_id
        self.key_version = key_version
        self.named: tuple[int, int] = (class_id, key_version) if lender is None else lender
        """The class id and key version in its envelopes. A borrowed key makes those of its lender."""
        self._to_deterministic = self._prepare(
            siv, EnvelopeMode.DETERMINISTIC, SivKey(key) if IS_IN_USE else None
        )
        self._to_random = self._prepare(siv, EnvelopeMode.RANDOM, None)
        self.by_header: dict[bytes, HeaderCipher] = {
            each.header: each for mode in (self._to_deterministic, self._to_random) for each in mode.values()
        }
        """By the 13 bytes themselves: what is found is this class and version, a known mode and type."""

    def _prepare(self, siv: AESSIV, mode: EnvelopeMode, blocks: SivKey | None) -> dict[int, HeaderCipher]:
        made = {}
        class_id, key_version = self.named
        for bson_type in ENCRYPTABLE_TYPES:
            header = serialize_header(EnvelopeHeader(mode, class_id, key_version, bson_type))
            short = None if blocks is None else _checked(ShortSiv(blocks, header), siv, header)
            made[bson_type] = HeaderCipher(siv, header, mode, bson_type, short)
        return made

    def __repr__(self) -> str:
        return f"ValueCipher(class_id={self.class_id}, key_version={self.key_version})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_to_serialise(self)

    def tag(self, domain: bytes, data: bytes) -> bytes:
        """16 bytes that only a holder of the key can make of `data`; another `domain` gives others.

        S2V, on which AES-SIV rests, is a pseudorandom function (RFC 5297 section 2.4). A domain has not the
        length of an envelope's header, so no envelope's SIV is a tag, and no tag an envelope's SIV.
        Raises ValueError for an empty `data` and such a domain. Cost: O(n).
        """
        if not data or len(domain) == HEADER_BYTES:
            raise ValueError("a tag needs data, and a domain that cannot be a header")
        return self._siv.encrypt(data, [domain])[:TAG_BYTES]

    def seal(self, domain: bytes, head: bytes, data: bytes) -> bytes:
        """`data` encrypted, and authenticated together with `head`; 16 bytes more. Equal input, equal output.

        It is no envelope, and nothing opens it but `unseal` with the same domain and head: the associated
        data of an envelope has other parts. Raises ValueError for an empty `data`. Cost: O(n).
        Source: RFC 5297 section 2.6
        """
        if not data:
            raise ValueError("nothing to seal")
        return self._siv.encrypt(data, [domain, head, b"sealed"])

    def unseal(self, domain: bytes, head: bytes, sealed: bytes) -> bytes:
        """What `seal` was given. Raises DecryptionFailed. Cost: O(n)."""
        if len(sealed) <= TAG_BYTES:
            raise errors.DecryptionFailed
        try:
            return self._siv.decrypt(sealed, [domain, head, b"sealed"])
        except InvalidTag:
            raise errors.DecryptionFailed from None

    def encrypt_deterministically(self, bson_type: int, value: bytes) -> bytes:
        """Make the envelope of `value`; equal type and bytes give equal envelopes, which anyone can see.

        Shape:   `value` is the element's value exactly as BSON holds it, without type byte and name
        Units:   1 to 16 MiB in; 29 bytes more out
        Raises:  UnsupportedValue
        Cost:    O(n)
        Source:  docs/format/envelope.md section 3; RFC 5297 section 2.6
        """
        return self.of_type(bson_type).seal(value)

    def of_type(self, bson_type: int) -> HeaderCipher:
        """The cipher of deterministic envelopes for values of this type. Raises UnsupportedValue."""
        found = self._to_deterministic.get(bson_type)
        if found is None:
            raise errors.UnsupportedValue(errors.ValueReason.BSON_TYPE)
        return found

    def encrypt_randomly(self, bson_type: int, value: bytes) -> bytes:
        """Make an envelope of `value` that equals no other; it can be decrypted but not searched for.

        Units:   1 to 16 MiB in; 45 bytes more out
        Raises:  UnsupportedValue
        Cost:    O(n), and 16 bytes from the operating system
        Source:  docs/format/envelope.md section 3; RFC 5297 section 3
        """
        found = self._to_random.get(bson_type)
        if found is None:
            raise errors.UnsupportedValue(errors.ValueReason.BSON_TYPE)
        return found.seal(value)

    def decrypt(self, envelope: bytes) -> tuple[int, bytes]:
        """Open `envelope`: its BSON type and the value's bytes.

        Shape:   `envelope` is the content of the BSON Binary, without length and subtype
        Binds:   the 13 header bytes (format, mode, class id, key version, BSON type), and the nonce
        Raises:  InvalidEnvelope   malformed, found before the key is used
                 DecryptionFailed  made for another class or version, or altered anywhere; carries no cause
        Cost:    O(n), two copies
        Source:  docs/format/envelope.md section 4; RFC 5297 section 2.7
        """
        found = self.by_header.get(envelope[:HEADER_BYTES])
        if found is None:
            parse_header(envelope)
            raise errors.DecryptionFailed
        return found.bson_type, found.open(envelope, 0, len(envelope))


def _checked(short: ShortSiv, siv: AESSIV, header: bytes) -> ShortSiv:
    """`short`, once it has given the library's answers with this very key for each way it has to end a value.

    Each value is sealed and opened by itself and as a batch of one, and then all of them in one batch.
    A wrong answer would be stored and never be read again. Raises SelfTestFailed. Cost: 30 us.
    """
    parts = associated_data(header)
    values = [bytes(range(length)) for length in _CHECKED_LENGTHS]
    for some in (*([value] for value in values), values):
        opening = OpenedTogether(short)
        buf = b""
        for value in some:
            envelope = header + siv.encrypt(value, parts)
            opening.add(len(buf), len(buf) + len(envelope))
            buf += envelope
        try:
            is_right = b"".join(short.seal(some)) == buf and opening.values(buf) == some
            if len(some) == 1:
                is_right &= short.seal_one(some[0]) == buf
                is_right &= short.open_one(buf, HEADER_BYTES, len(buf)) == some[0]
        except (errors.DecryptionFailed, InvalidTag):
            is_right = False
        if not is_right:
            raise errors.SelfTestFailed("AES-SIV of short values")
    return short
