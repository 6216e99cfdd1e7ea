"""`sealwire keys` with a key-encryption key of a cloud."""

from pathlib import Path

import pytest

from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run
from tests.support.clouds import CLOUD_KEYS, cloud_key
from tests.support.fake_https import Answer


@pytest.mark.parametrize("kind", CLOUD_KEYS)
def test_a_keyring_moves_to_a_cloud_and_is_at_home_there(
    run: Run, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = ("--keyring", "k.json")
    with cloud_key(kind, tmp_path, monkeypatch) as (setting, https):
        assert run("create", *keyring, "a", "b").code == 0
        assert run("rewrap", *keyring, "--to", setting).code == 0
        assert read_record(tmp_path / "k.json").kek_id.split(":")[0] == setting.split(":")[0]
        assert run("verify", *keyring, "--kek", setting).code == 0
        assert run("create", *keyring, "--kek", setting, "c").code == 0
        assert run("rewrap", *keyring, "--kek", setting, "--dry-run").code == 0
        assert run("verify", *keyring).code == 77
        https.instead += [lambda _: Answer(503)] * 40
        away = run("verify", *keyring, "--kek", setting)
        assert away.code == 69
        assert "hint:" in away.err
