"""A PKCS#11 token of SoftHSM's, from Debian's package, with keys in it."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pkcs11
from pkcs11 import Attribute, KeyType

from tests.support.debian import require_program
from tools.debian_programs import find_file, library_environment

PIN = "87654321"
TOKEN = "clinic"


class SoftHsm:
    """One token. A process has one: SoftHSM reads its settings once, when its library is loaded."""

    def __init__(self, module: Path) -> None:
        self.module = module

    def make_key(self, label: str, bits: int = 256, **attributes: bool) -> str:
        """Make a key, and return its place as a setting without a PIN has it."""
        template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        template |= {Attribute[name.upper()]: value for name, value in attributes.items()}
        with self.session() as session:
            session.generate_key(KeyType.AES, bits, label=label, store=True, template=template)
        return self.place(label)

    def place(self, label: str, token: str = TOKEN) -> str:
        return f"token={token};object={label}?module-path={self.module}"

    @contextmanager
    def session(self) -> Iterator[pkcs11.Session]:
        """A session that may write; a login of the same process counts for it."""
        token = pkcs11.lib(str(self.module)).get_token(token_label=TOKEN)
        try:
            session = token.open(rw=True, user_pin=PIN)
        except pkcs11.exceptions.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        yield session


def soft_hsm(folder: Path) -> SoftHsm:
    """A fresh token below `folder`; the test is skipped where SoftHSM cannot be had."""
    program = require_program("softhsm2-util", "softhsm2", "--version", "libsofthsm2")
    module = find_file(program, "lib/softhsm/libsofthsm2.so")
    assert module is not None
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    command = [str(program), "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", PIN]
    subprocess.run([*command, "--module", str(module)], env=dict(library_environment(program)), check=True)
    # in another thread, in whose queue of OpenSSL's errors it leaves some (sealwire.keys.kek.pkcs11)
    with ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(pkcs11.lib, str(module)).result()
    return SoftHsm(module)
