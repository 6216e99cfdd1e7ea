"""The walks of docs/contributing.md to a setting and to a key provider, each done on a copy of the tree."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.build_context import ROOT
from tools.dead_code import PRODUCT

pytestmark = pytest.mark.integration

CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
MOST_FILES = 3
SETTINGS = "proxy/server/config/settings.py"
PROVIDERS = "keys/providers.py"

A_SETTING = {
    SETTINGS: {
        "    handshake_s: float = 10.0\n": "    handshake_s: float = 10.0\n    idle_s: float = 60.0\n",
        "    workers: int = 1\n": "    workers: int = 1\n    warmth: int = 3\n",
        '        Setting("workers",': (
            '        Setting("limits.idle_s", _number(1, 600), _LIMITS.idle_s),\n'
            '        Setting("warmth", _whole(1, 9), 3, "warmth", "warmth"),\n'
            '        Setting("workers",'
        ),
    }
}
READS_IT = """
from dataclasses import replace
from pathlib import Path
from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import KNOWN_VARIABLES, changed, effective

SHORT = '''
listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}
upstream: {address: "mongo:27017", tls: {mode: plaintext}}
policy: policy.yaml
keyring: keyring.json
kek: {provider: environment}
'''

def parse(text, environ={}):
    return parse_config((SHORT + text).encode(), Path("/etc/sealwire.yaml"), environ)

def hint_of(text):
    try:
        parse(text)
    except SourceError as error:
        return error.hint
    raise AssertionError(text)

usual = parse("")
assert (usual.limits.idle_s, usual.warmth) == (60.0, 3)
given = parse("limits: {idle_s: 5}\\nwarmth: 4")
assert (given.limits.idle_s, given.warmth) == (5.0, 4)
assert parse("", {"SEALWIRE_LIMITS_IDLE_S": "7", "SEALWIRE_WARMTH": "8"}).limits.idle_s == 7.0
assert "idle_s" in hint_of("limits: {idel_s: 5}") and "warmth" in hint_of("warmht: 5")
assert hint_of("limits: {idle_s: 0}") and hint_of("warmth: 10")
assert parse("", {"SEALWIRE_WARMHT": "8"}).ignored_variables == ("SEALWIRE_WARMHT",)
assert changed(usual, given) == ["warmth"]
assert effective(usual, given) == replace(usual, limits=given.limits)
"""

A_PROVIDER = {
    PROVIDERS: {
        "class ProviderKind(Enum):": (
            'def _on_paper(place: "_Place") -> KeyEncryptionKey:\n'
            "    from sealwire.keys.kek.paper import PaperKek\n\n"
            "    return PaperKek(place.settings.location)\n\n\n"
            "class ProviderKind(Enum):"
        ),
        "    PKCS11 = (": '    PAPER = ("paper", "SHEET", ("name",), _on_paper)\n    PKCS11 = (',
    },
    "keys/kek/paper.py": {
        "": (
            "from hashlib import sha256\nfrom sealwire.keys.kek.kek import LocalKek\n\n\n"
            "class PaperKek(LocalKek):\n"
            "    def __init__(self, location: str) -> None:\n"
            "        super().__init__(sha256(location.encode()).digest())\n"
        )
    },
}
OPENS_IT = """
from pathlib import Path
from sealwire.keys.providers import KEK_FORMS
from sealwire.keys.providers import ProviderKind, Providers, parse_provider
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import SETTINGS

kek = Providers({}).kek(parse_provider("paper:sheet"))
assert kek.unwrap(kek.wrap(bytes(64), b"context"), b"context") == bytes(64)
assert ProviderKind.PAPER.is_remote
assert "paper:SHEET" in KEK_FORMS and "`paper`" in SETTINGS["kek.provider"].value.shown
source = b'''
listen: {address: "127.0.0.1:27018", tls: {mode: plaintext}}
upstream: {address: "mongo:27017", tls: {mode: plaintext}}
policy: policy.yaml
keyring: keyring.json
kek: {provider: paper, name: sheet}
'''
config = parse_config(source, Path("/etc/sealwire.yaml"), {})
assert config.kek == parse_provider("paper:sheet")
assert config.keys.max_age_s == 86_400
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The product, as a checkout has it."""
    for room in {*(room.partition("/")[0] for room in PRODUCT), "sealwire"}:
        shutil.copytree(ROOT / room, tmp_path / room, symlinks=True)
    return tmp_path


@pytest.mark.parametrize(
    ("edits", "program"), [(A_SETTING, READS_IT), (A_PROVIDER, OPENS_IT)], ids=["setting", "provider"]
)
def test_a_walk_touches_the_files_that_it_names_and_is_all_that_it_takes(
    tree: Path, edits: Mapping[str, Mapping[str, str]], program: str
) -> None:
    assert len(edits) < MOST_FILES  # one is left for what uses it
    for name, changes in edits.items():
        assert f"`{name}`" in CONTRIBUTING or not (ROOT / name).exists()
        file = tree / name
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for old, new in changes.items():
            assert not old or text.count(old) == 1
            text = text.replace(old, new, 1)
        file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
