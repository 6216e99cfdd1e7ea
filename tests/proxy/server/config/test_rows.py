"""The admin address is read alone as it is read with the whole configuration."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.rows import ADMIN_ADDRESS, ADMIN_ROWS, AdminDoor, load_admin_door
from sealwire.proxy.server.config.settings import SETTINGS
from sealwire.proxy.server.errors import FileProblem
from tests.proxy.server.config_texts import SHORT, WHOLE
from tests.support.rows import rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sealwire.yaml"


@pytest.mark.parametrize("text", [WHOLE, SHORT, f"{SHORT}\nadmin: {{address: '[::1]:1'}}\n"])
@rows("environ", {}, {"SEALWIRE_ADMIN_ADDRESS": "other:7"}, {"SEALWIRE_ADMIN_TLS_CERTIFICATE": "~/a.crt"})
def test_both_readers_agree(path: Path, text: str, environ: Mapping[str, str]) -> None:
    path.write_text(text)
    whole = load_config(path, environ)
    assert load_admin_door(path, environ) == AdminDoor(whole.admin, whole.admin_tls.certificate)


@rows(
    "section",
    "1",
    "{adress: 'a:1'}",
    "{address: a}",
    "{tls: {key: a.key}}",
    "{tls: {certificate: 1}}",
    "{tls: []}",
)
def test_what_is_wrong_with_the_section_is_reported_alike(path: Path, section: str) -> None:
    path.write_text(f"{SHORT}\nadmin: {section}\n")
    with pytest.raises(SourceError) as alone:
        load_admin_door(path, {})
    with pytest.raises(SourceError) as whole:
        load_config(path, {})
    assert str(alone.value) == str(whole.value)


def test_other_sections_are_not_looked_at(path: Path) -> None:
    path.write_text("listen: 5\nunknown: 7\n")
    assert load_admin_door(path, {"SEALWIRE_WORKERS": "none"}) == AdminDoor(ADMIN_ADDRESS, None)


@pytest.mark.parametrize("text", ["", "- admin", "admin: {a: 1", "admin: &a {}\nother: *a\n"])
def test_what_is_no_configuration_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(SourceError):
        load_admin_door(path, {})


def test_a_missing_file_is_reported(path: Path) -> None:
    with pytest.raises(FileProblem):
        load_admin_door(path, {})


def test_the_rows_of_the_section_are_all_in_the_table() -> None:
    assert list(ADMIN_ROWS) == [name for name in SETTINGS if name.startswith("admin.")]
