"""Key pairs: the public file wraps keys, and only the private one unwraps them.

The machine that writes backups needs only the public half, so it cannot read them. HPKE (RFC 9180) in base
mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM. What a wrapped key is bound to goes into
HPKE's `info`. Base mode does not say who wrapped: whoever has the public file can.

    private  {"format": "sealwire-private-key", "version": 1, "id": ..., "scrypt": {...}, "wrapped": 48 B}
    public   {"format": "sealwire-public-key", "version": 1, "id": ..., "public": 32 B}
"""

from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys import private_file, strict_json
from sealwire.keys.errors import UnwrapFailed
from sealwire.keys.kek.kek import MAX_KEY_BYTES, Purpose
from sealwire.keys.kek.passphrase import DEFAULT_SCRYPT, ScryptParameters, open_file, seal, serialize_file

PUBLIC_FORMAT = "sealwire-public-key"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 4096
PUBLIC_BYTES = 32
# The encapsulated key and the tag of AES-GCM.
OVERHEAD_BYTES = 32 + 16

_KEY_ID_PREFIX = "x25519:"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


class PublicKey:
    """The half that wraps. Not secret, but whoever can replace it can read what is wrapped from then on."""

    __slots__ = ("_key", "id", "raw")

    def __init__(self, raw: bytes) -> None:
        """`raw`: the 32 bytes of RFC 7748. Raises ValueError for another length."""
        self._key = X25519PublicKey.from_public_bytes(raw)
        self.raw = raw
        self.id = f"{_KEY_ID_PREFIX}{sha256(raw).hexdigest()[:32]}"
        """The first 128 bits of the key's SHA-256: short enough to be read out over a telephone."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    def wrap(self, key: bytes, associated_data: bytes) -> bytes:
        """48 bytes longer than `key`, and different every time. Raises ValueError for its length."""
        if not 0 < len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key to be wrapped has 1 to {MAX_KEY_BYTES} bytes")
        return bytes(_SUITE.encrypt(key, self._key, associated_data))


class PrivateKey(Unpicklable):
    """The half that unwraps."""

    __slots__ = ("_key", "id")

    def __init__(self, raw: bytes) -> None:
        """`raw`: 32 random bytes. Raises ValueError for another length."""
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self.id = self.public.id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r})"

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self._key.public_key().public_bytes_raw())

    def unwrap(self, wrapped: bytes, associated_data: bytes) -> bytes:
        """The key inside `wrapped`. Raises UnwrapFailed."""
        if not OVERHEAD_BYTES < len(wrapped) <= OVERHEAD_BYTES + MAX_KEY_BYTES:
            raise UnwrapFailed
        try:
            return bytes(_SUITE.decrypt(wrapped, self._key, associated_data))
        except (InvalidTag, ValueError):  # ValueError: an encapsulated key of low order
            raise UnwrapFailed from None


def create_key_pair(path: Path, passphrase: str, parameters: ScryptParameters = DEFAULT_SCRYPT) -> str:
    """Write a fresh private key to `path` under `passphrase`, its public half to `path`.pub; return the id.

    Raises:  KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING, FILE_UNWRITABLE; AlreadyExists; KeyringBusy;
             KekUnavailable MEMORY
    Cost:    one scrypt
    """
    raw = X25519PrivateKey.generate().private_bytes_raw()
    public = PrivateKey(raw).public
    box = seal(Purpose.PRIVATE_KEY, public.id, raw, passphrase, parameters)
    with private_file.writer_lock(path):
        # The public half is written first. If writing stops in between, the private half is missed at once.
        private_file.create_public(public_path(path), _serialize_public(public))
        private_file.create_private(path, serialize_file(box))
    return public.id


def public_path(path: Path) -> Path:
    """Where the public half of the private key at `path` is written."""
    return path.with_name(path.name + ".pub")


def load_public_key(path: Path) -> PublicKey:
    """Read a public file. Raises KeySettingError FILE_MISSING, UnsafeFile, DamagedFile."""
    filename = str(path)
    raw = private_file.read_trusted(path, MAX_FILE_BYTES)
    fields = strict_json.parse(raw, filename)
    fields.format(PUBLIC_FORMAT, FORMAT_VERSION)
    key_id = fields.text("id")
    key = PublicKey(fields.binary("public", PUBLIC_BYTES, PUBLIC_BYTES))
    fields.done()
    if key.id != key_id:
        fields.refuse("has an id that is not that of its key")
    strict_json.require_exact(raw, _serialize_public(key), filename)
    return key


def load_private_key(path: Path, passphrase: str) -> PrivateKey:
    """Open a private file. Raises what KeyFileKek raises. Cost: one scrypt."""
    return PrivateKey(open_file(path, Purpose.PRIVATE_KEY, passphrase))


def is_public(key_id: str) -> bool:
    """Whether this is the id of a key pair, so that everyone with its public half can wrap for it."""
    return key_id.startswith(_KEY_ID_PREFIX)


def _serialize_public(key: PublicKey) -> bytes:
    return strict_json.serialize(
        {
            "format": PUBLIC_FORMAT,
            "version": FORMAT_VERSION,
            "id": key.id,
            "public": strict_json.encode(key.raw),
        }
    )
