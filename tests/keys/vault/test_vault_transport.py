import io
from pathlib import Path

import pytest
import requests

from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.vault.connection import BoundedBody, make_client, tls_context
from sealwire.keys.vault.settings import AuthMethod, AuthSettings, VaultSettings
from sealwire.testbed.certificates import create_authority

TOKEN = AuthSettings(AuthMethod.TOKEN)


class Raw:
    """The part of urllib3's response that matters here."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)
        self.asked = 0
        self.closed = False

    def read(self, amount: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        self.asked = max(self.asked, amount)
        return self.content.read(amount)

    def close(self) -> None:
        self.closed = True


def test_an_answer_within_its_bound_is_read_whole() -> None:
    body = BoundedBody(Raw(b"x" * 100), 100)
    assert b"".join(iter(lambda: body.read(30), b"")) == b"x" * 100


def test_an_answer_beyond_its_bound_is_cut_off() -> None:
    raw = Raw(b"x" * 1000)
    body = BoundedBody(raw, 100)
    with pytest.raises(requests.exceptions.ContentDecodingError):
        body.read(1000)
    assert raw.closed
    assert raw.asked <= 101


def test_the_client_takes_nothing_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "from the environment")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("from the home directory")
    client = make_client(VaultSettings("https://vault.example:8200", TOKEN, namespace="ns"))
    assert (client.token, client.allow_redirects, client.session.trust_env) == ("", False, False)
    assert client.adapter.namespace == "ns"


def test_files_for_tls_that_do_not_fit_are_a_setting(tmp_path: Path) -> None:
    authority = create_authority(tmp_path)
    one, other = authority.issue("one", client=True), authority.issue("other", client=True)
    fitting = VaultSettings("https://v", TOKEN, None, authority.certificate_file, one.certificate, one.key)
    assert tls_context(fitting).check_hostname
    for settings in (
        VaultSettings("https://v", TOKEN, None, authority.certificate_file, one.certificate, other.key),
        VaultSettings("https://v", TOKEN, None, tmp_path / "none"),
        VaultSettings("https://v", TOKEN, None, one.key),
    ):
        with pytest.raises(KeySettingError) as caught:
            tls_context(settings)
        assert caught.value.reason is KeysReason.VAULT_SETTING
