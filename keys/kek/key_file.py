"""A KEK in a file, encrypted with a passphrase: for servers without a key service.

    {"format": "sealwire-key-file", "version": 1, "kek_id": ...,
     "scrypt": {"n": ..., "r": ..., "p": ..., "salt": 32 B}, "wrapped": 48 B}

`passphrase_box` says how the passphrase protects it.
"""

import os
from pathlib import Path

from sealwire.keys import strict_json
from sealwire.keys.kek.kek import KEK_BYTES, LocalKek, Purpose
from sealwire.keys.kek.passphrase import DEFAULT_SCRYPT, PassphraseBox, ScryptParameters, read_box, seal
from sealwire.keys.private_file import create_private, read_private, writer_lock

FORMAT_NAME = "sealwire-key-file"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 4096


class KeyFileKek(LocalKek):
    """The KEK of a key file; the passphrase is needed once, here."""

    __slots__ = ()

    def __init__(self, path: Path, passphrase: str) -> None:
        """Open `path`.

        Raises:  KeySettingError FILE_MISSING, PASSPHRASE_MISSING; UnsafeFile; DamagedFile
                 KekDenied PASSPHRASE_WRONG, which an altered file cannot be told apart from
                 KekUnavailable MEMORY
        Cost:    one scrypt: 128 MiB and 0.4 s with the default parameters
        """
        content = _parse(read_private(path, MAX_FILE_BYTES), str(path))
        super().__init__(content.open(passphrase, str(path)))


def create_key_file(path: Path, passphrase: str, parameters: ScryptParameters = DEFAULT_SCRYPT) -> str:
    """Make a fresh KEK, write it to `path` (0600) under `passphrase`, and return its id.

    Raises:  KeySettingError PASSPHRASE_WEAK, PASSPHRASE_MISSING, FILE_UNWRITABLE; AlreadyExists; KeyringBusy;
             KekUnavailable MEMORY
    Cost:    one scrypt
    """
    kek = os.urandom(KEK_BYTES)
    box = seal(Purpose.KEY_FILE, LocalKek(kek).id, kek, passphrase, parameters)
    with writer_lock(path):
        create_private(path, _serialize(box))
    return box.secret_id


def _serialize(content: PassphraseBox) -> bytes:
    return strict_json.serialize(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "kek_id": content.secret_id,
            **content.to_json(),
        }
    )


def _parse(raw: bytes, filename: str) -> PassphraseBox:
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    content = read_box(fields, Purpose.KEY_FILE, fields.text("kek_id"), filename)
    fields.done()
    strict_json.require_exact(raw, _serialize(content), filename)
    return content
