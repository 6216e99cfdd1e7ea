"""`sealwire erase` in a folder with a policy and keys, and no server."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.keys.keyring.file import create_keyring
from sealwire.keys.private_file import create_private, create_public
from sealwire.sidecars.erasure.holds import create_holds
from tests.cli.hold.conftest import POLICY
from tests.keys.samples import KEK_A, environment_kek

SIGNER = make_key("clinic", bytes(range(32)))
OPTIONS = ("policy.yaml", "--uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=1")


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    key = PseudonymKey(bytes(range(32)))
    Path("policy.yaml").write_text(POLICY)
    create_private(Path("subjects.key"), key.written())
    create_holds(Path("holds.json"), key)
    create_private(Path("audit.key"), SIGNER.written())
    create_public(Path("audit.key.pub"), f"{SIGNER.verification}\n".encode())
    create_keyring(Path("keyring.json"), environment_kek(tmp_path, KEK_A), ["nhs"], datetime.now(UTC))
    for name, value in {
        "SEALWIRE_KEYRING": "keyring.json",
        "SEALWIRE_KEK_PROVIDER": "env:K",
        "K": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "SEALWIRE_AUDIT_SUBJECTS_KEY": "subjects.key",
        "SEALWIRE_AUDIT_KEY": "audit.key",
        "SEALWIRE_HOLDS": "holds.json",
    }.items():
        monkeypatch.setenv(name, value)
    return ("erase",)
