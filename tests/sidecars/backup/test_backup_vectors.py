"""Format 1 is what docs/format/backup.md says, and stays what it was."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from sealwire.audit.signing import read_verification_key
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.kek.key_pair import PrivateKey
from sealwire.sidecars.backup.keeping.verification import verify_backup
from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.payload import open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import Unsound
from tests.build_context import ROOT
from tests.keys.samples import NOW
from tests.sidecars.backup import reference_reader
from tests.sidecars.backup.make_backup_vectors import SIGNED_TARGET, TARGET
from tests.sidecars.backup.samples import KEK, local, make_dump, seal

FROZEN_SHA256 = "6a4d54f239a07d6a9eb7490a7a26c3a39747f1e8781df5ccdd70747442b0978d"
SIGNED_SHA256 = "0991ae78a54308f2fbd55295350e36efc6fa24b3e85d0b926a4624334f20b50b"
FILE = json.loads(TARGET.read_bytes())
SIGNED = json.loads(SIGNED_TARGET.read_bytes())
SIGNER = read_verification_key(SIGNED["verification_key"].encode())
KEK_BYTES = bytes.fromhex(FILE["kek"])
PAGE = ROOT / "docs" / "format" / "backup.md"


def test_the_vectors_are_frozen() -> None:
    assert hashlib.sha256(TARGET.read_bytes()).hexdigest() == FROZEN_SHA256
    assert hashlib.sha256(SIGNED_TARGET.read_bytes()).hexdigest() == SIGNED_SHA256


@pytest.fixture(params=[*FILE["vectors"], *SIGNED["vectors"]], ids=lambda vector: str(vector["title"]))
def vector(request: pytest.FixtureRequest) -> dict[str, Any]:
    content = request.param
    assert isinstance(content, dict)
    return content


def test_a_released_backup_opens(vector: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "b.tar.gz.enc").write_bytes(base64.b64decode(vector["payload"]))
    (tmp_path / "b.tar.gz.enc.json").write_bytes(base64.b64decode(vector["sidecar"]))
    store = LocalStore(tmp_path)
    identities: list[Identity] = [LocalKek(KEK_BYTES)]
    if "key pair" in vector["title"]:
        identities.append(PrivateKey(bytes.fromhex(FILE["private_key"])))
    for identity in identities:
        with open_backup(store, "b", [identity]) as reader:
            assert hashlib.sha256(reader.read()).hexdigest() == vector["tar_sha256"]
            reader.finish()
        assert verify_backup(store, "b", [identity], NOW).recorded
    if vector in SIGNED["vectors"]:
        assert verify_backup(store, "b", identities, NOW, signed_by=[SIGNER]).origin.signed_by == SIGNER
    else:
        with pytest.raises(Unsound):
            verify_backup(store, "b", identities, NOW, signed_by=[SIGNER])


@pytest.mark.parametrize("vector", SIGNED["vectors"])
def test_a_signature_is_what_the_page_says(vector: dict[str, Any]) -> None:
    payload, sidecar = base64.b64decode(vector["payload"]), json.loads(base64.b64decode(vector["sidecar"]))
    reference_reader.check_signature(payload, sidecar, "b", SIGNER.public)
    with pytest.raises(InvalidSignature):
        reference_reader.check_signature(payload, sidecar, "c", SIGNER.public)


def test_a_reader_written_from_the_page_opens_it(vector: dict[str, Any]) -> None:
    tar = reference_reader.read(base64.b64decode(vector["payload"]), KEK_BYTES, KEK.id)
    assert hashlib.sha256(tar).hexdigest() == vector["tar_sha256"]


def test_a_reader_written_from_the_page_opens_what_is_written_now(tmp_path: Path) -> None:
    seal(local(tmp_path))
    assert (
        reference_reader.read((tmp_path / "b.tar.gz.enc").read_bytes(), KEK_BYTES, KEK.id) == make_dump()[0]
    )


def test_the_mac_of_a_sidecar_is_what_the_page_says(vector: dict[str, Any]) -> None:
    sidecar = json.loads(base64.b64decode(vector["sidecar"]))
    (slot,) = (slot for slot in sidecar["slots"] if slot["key_id"] == KEK.id)
    backup_id = base64.b64decode(sidecar["id"])
    bound = reference_reader.parts(b"sealwire-wrap-1", b"backup-key", backup_id, KEK.id.encode())
    data_key = reference_reader.unwrap_with_kek(KEK_BYTES, base64.b64decode(slot["wrapped"]), bound)
    assert reference_reader.sidecar_mac(sidecar, data_key) == base64.b64decode(sidecar["mac"])


def test_the_page_names_what_the_code_derives_keys_with() -> None:
    page = PAGE.read_text(encoding="utf-8")
    source = (ROOT / "sidecars" / "backup" / "sealed" / "key_slots.py").read_text(encoding="utf-8")
    for label in ("header", "sidecar", "payload"):
        assert f'b"sealwire backup 1: {label}"' in source
        assert f"`sealwire backup 1: {label}`" in page
