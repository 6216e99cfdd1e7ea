"""A volume's passphrase from a real OpenBao, and from a real systemd-creds where the machine has it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.keys.errors import DamagedFile, KekDenied, KeysError, KeySettingError, KeysReason
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.volume import parse_source, read_passphrase
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.support.debian import require_programs
from tests.support.openbao import make_token

pytestmark = pytest.mark.integration

STRONG = "six wooden barrels under the moor"
READER = 'path "secret/data/luks/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        fields = {"passphrase": STRONG, "number": 7, "long": "x" * 5000}
        for path in ("luks/mongodb", "luks/gone"):
            server.client.secrets.kv.v2.create_or_update_secret(path, fields)
        server.client.secrets.kv.v2.delete_latest_version_of_secret("luks/gone")
        yield server


@pytest.fixture
def logged_in(bao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", make_token(bao, READER))


def never() -> str:
    raise AssertionError("nobody was to be asked")


def read(setting: str) -> bytes:
    return read_passphrase(parse_source(setting), Machine(), never, is_new=True)


@pytest.mark.usefixtures("logged_in")
def test_a_field_of_a_document_in_vault() -> None:
    assert read("vault:secret/luks/mongodb#passphrase") == STRONG.encode()


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize(
    ("place", "kind", "reason"),
    [
        ("secret/luks/none#passphrase", KeySettingError, KeysReason.FILE_MISSING),
        ("secret/luks/gone#passphrase", KeySettingError, KeysReason.FILE_MISSING),
        ("secret/luks/mongodb#other", DamagedFile, KeysReason.SCHEMA),
        ("secret/luks/mongodb#number", DamagedFile, KeysReason.SCHEMA),
        ("secret/luks/mongodb#long", DamagedFile, KeysReason.FILE_TOO_LARGE),
        ("secret/luks/mongodb", KeySettingError, KeysReason.VAULT_SETTING),
        ("secret/../luks#x", KeySettingError, KeysReason.VAULT_SETTING),
        ("secret/other#x", KekDenied, KeysReason.VAULT_DENIED),
    ],
)
def test_what_is_not_there_or_not_ours_has_its_reason(
    place: str, kind: type[KeysError], reason: KeysReason
) -> None:
    with pytest.raises(kind) as caught:
        read(f"vault:{place}")
    assert caught.value.reason is reason
    assert STRONG not in str(caught.value)


def test_a_credential_that_systemd_sealed_on_this_machine(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the key of the machine is root's")
    require_programs({"systemd-creds": "systemd"})
    sealed = tmp_path / "mongodb-luks"
    seal = ["systemd-creds", "encrypt", "--with-key=host", "--name=mongodb-luks", "-", str(sealed)]
    done = subprocess.run(seal, input=STRONG + "\n", text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read(f"systemd-creds:{sealed}") == STRONG.encode()
    sealed.rename(tmp_path / "another-name")
    with pytest.raises(Unusable) as caught:
        read(f"systemd-creds:{tmp_path}/another-name")
    assert caught.value.reason is LuksReason.SECRET_SOURCE
