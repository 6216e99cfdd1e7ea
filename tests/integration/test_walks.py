"""The walks of docs/contributing.md, each done on a copy of the tree."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.build_context import ROOT
from tests.support.runs import ran
from tools.dead_code import PRODUCT

pytestmark = pytest.mark.integration

CONTRIBUTING = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
MOST_FILES = 3

AN_OPERATOR = {
    "policies/expressions/operators.py": {
        '    **operators("2: in",': (
            '    **operators("2: within", encrypted(infer_membership, _SETS)),\n    **operators("2: in",'
        )
    },
    "policies/filters/filters.py": {
        '    b"$options": never(': (
            '    **asking(Asks.ORDER, family("$beyond", never(Reason.OPERATOR, named=True))),\n'
            '    b"$options": never('
        )
    },
    "policies/questions/conditions.py": {
        '    b"$gt": lambda': '    b"$beyond": lambda sign: sign > 0,\n    b"$gt": lambda',
    },
}
PLANS_IT = """
from bson import encode
from sealwire.policies.commands.planner import MATRIX, naming_operators, plan_command
from sealwire.policies.file.loader import load_policy
from sealwire.policies.questions.asked import Answers, ValuesUnknown
from sealwire.policies.questions.conditions import HeldValue

POLICY = load_policy(b'''
version: 1
classes: {name: {mode: deterministic, type: string, ask: true}}
collections: {clinic.patients: {name: name}}
''', "policy.yaml")

def plan(condition, answers=None):
    buf = encode({"find": "patients", "filter": condition, "$db": "clinic"})
    return plan_command(POLICY, buf, 0, answers=answers)

def edits(operator):
    return len(plan({"$expr": {operator: ["$name", ["ann", "bob"]]}}).edits)

assert edits("$within") == edits("$in") > 0
try:
    plan({"name": {"$beyond": "b"}}, Answers())
    raise AssertionError("not asked")
except ValuesUnknown as unknown:
    asked = unknown
for text in (b"ann", b"cleo"):
    value = 2, (len(text) + 1).to_bytes(4, "little") + text + bytes(1)
    asked.judgement.take(HeldValue(value, value))
[found] = asked.judgement.answer().all
assert b"cleo" in found.value[1]
assert b"$beyond" in naming_operators()
rows = {name: row for family in MATRIX for name, row in family.rules.items()}
assert rows[b"$beyond"].asks and rows[b"$within"].note
"""

A_FORMAT = {
    "crypto/envelope.py": {
        "_FORMATS: Final[dict[int, int]] = {": (
            "SEARCH_FORMAT: Final = 3\nSEARCH_KEY_BYTES: Final = 8\n"
            "_FORMATS: Final[dict[int, int]] = {SEARCH_FORMAT: SEARCH_KEY_BYTES, "
        ),
    },
    "crypto/searchable.py": {
        "": """
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import FORMAT_OFFSET, HEADER_BYTES, SEARCH_FORMAT, SEARCH_KEY_BYTES
from sealwire.crypto.envelope import parse_any_header, serialize_header

_BODY = HEADER_BYTES + SEARCH_KEY_BYTES

def is_searchable(buf, start):
    return buf[start + FORMAT_OFFSET : start + FORMAT_OFFSET + 1] == bytes((SEARCH_FORMAT,))

def seal(cipher, header, search_key, value):
    plain = serialize_header(header)
    head = plain[:FORMAT_OFFSET] + bytes((SEARCH_FORMAT,)) + plain[FORMAT_OFFSET + 1 :] + search_key
    return head + cipher.seal(b"searchable", head, value)

def unseal(cipher, envelope):
    header = parse_any_header(envelope)
    return header.bson_type, cipher.unseal(b"searchable", envelope[:_BODY], envelope[_BODY:])
"""
    },
    "keys/keyring/keyring.py": {
        "            if is_of_context(buf, start):\n": (
            "            if is_searchable(buf, start):\n"
            "                said = parse_any_header(buf[start:end])\n"
            "                key = self.cipher_by_id(said.class_id, said.key_version)\n"
            "                return unseal(key, buf[start:end])\n"
            "            if is_of_context(buf, start):\n"
        ),
        "from sealwire.crypto.envelope import": (
            "from sealwire.crypto.searchable import is_searchable, unseal\n"
            "from sealwire.crypto.envelope import parse_any_header\n"
            "from sealwire.crypto.envelope import"
        ),
    },
}
OPENS_IT = """
from datetime import UTC, datetime
from sealwire.crypto.envelope import EnvelopeHeader, EnvelopeMode, binary, class_id_of, is_envelope
from sealwire.crypto.envelope import parse_any_header
from sealwire.crypto.errors import DecryptionFailed
from sealwire.crypto.searchable import seal
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring

key = DataKey("name", 7, 1, KeyState.ACTIVE, datetime(2026, 11, 30, tzinfo=UTC), bytes(64))
keyring = Keyring([key])
cipher = keyring.cipher_for("name")
header = EnvelopeHeader(EnvelopeMode.DETERMINISTIC, 7, 1, 2)
envelope = seal(cipher, header, b"12345678", b"ann")
assert is_envelope(5, binary(envelope)) and class_id_of(envelope, 0) == 7
assert parse_any_header(envelope) == header
assert keyring.open_envelope(b"?" + envelope, 1, len(envelope) + 1) == (2, b"ann")
old = cipher.encrypt_deterministically(2, b"ann")
assert keyring.open_envelope(old, 0, len(old)) == (2, b"ann")
try:
    keyring.open_envelope(envelope.replace(b"12345678", b"12345679"), 0, len(envelope))
    raise AssertionError("opened")
except DecryptionFailed:
    pass
"""

CONFIGURED = """
from dataclasses import replace
from pathlib import Path
from sealwire.files.errors import SourceError
from sealwire.proxy.server.config.reader import parse_config
from sealwire.proxy.server.config.settings import SETTINGS, changed, effective

def parse(text, environ={}, listen="", kek="provider: environment"):
    source = f'''
listen: {{address: "127.0.0.1:27018", tls: {{mode: plaintext}}, {listen}}}
upstream: {{address: "mongo:27017", tls: {{mode: plaintext}}}}
policy: policy.yaml
keyring: keyring.json
kek: {{{kek}}}
{text}'''
    return parse_config(source.encode(), Path("/etc/sealwire.yaml"), environ)

def hint_of(text, **more):
    try:
        parse(text, **more)
    except SourceError as error:
        return error.hint
    raise AssertionError(text)
"""

A_PROVIDER = {
    "keys/providers.py": {
        "class ProviderKind(Enum):": (
            'def _on_paper(place: "_Place") -> "KeyEncryptionKey":\n'
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
WRAPS_BY_IT = """
from sealwire.keys.providers import KEK_FORMS, ProviderKind, Providers, parse_provider

kek = Providers({}).kek(parse_provider("paper:sheet"))
assert kek.unwrap(kek.wrap(bytes(64), b"context"), b"context") == bytes(64)
assert ProviderKind.PAPER.is_remote
assert "paper:SHEET" in KEK_FORMS and "`paper`" in SETTINGS["kek.provider"].value.shown
config = parse("", kek="provider: paper, name: sheet")
assert config.kek == parse_provider("paper:sheet")
assert config.keys.max_age_s == 86_400
"""

A_SETTING = {
    "proxy/server/config/settings.py": {
        "    handshake_s: float = 10.0\n": "    handshake_s: float = 10.0\n    idle_s: float = 60.0\n",
        "    workers: int = 1\n": "    workers: int = 1\n    warmth: int = 3\n",
        '        Setting("workers",': (
            '        Setting("limits.idle_s", number(1, 600), _LIMITS.idle_s),\n'
            '        Setting("warmth", whole(1, 9), 3, "warmth", "warmth"),\n'
            '        Setting("workers",'
        ),
    }
}
READS_IT = """
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

A_COMMAND = {
    "audit/counting.py": {
        "": """
from sealwire.audit.errors import AuditFileProblem, AuditReason

def count_lines(log):
    try:
        return log.read_bytes().count(b"\\n")
    except FileNotFoundError:
        raise AuditFileProblem(AuditReason.FILE_MISSING, "no such log", "name the log") from None
"""
    },
    "sealwire/cli/audit.py": {
        '@click.command(name="report")\n': (
            '@click.command(name="count")\n@log_argument\n@json_option\n'
            "def count(log: Path, as_json: bool) -> None:\n"
            '    """Count the lines of a log."""\n'
            "    from sealwire.audit.counting import count_lines\n\n"
            "    lines = count_lines(log)\n"
            '    print_json({"lines": lines}) if as_json else click.echo(lines)\n\n\n'
            '@click.command(name="report")\n'
        )
    },
    "sealwire/cli/groups.py": {'"cli.audit": "': '"cli.audit": "count '},
}
RUNS_IT = """
import json
from pathlib import Path
from click.testing import CliRunner
from sealwire.audit.errors import AuditFileProblem
from sealwire.cli import sealwire
from sealwire.cli.exit_codes import EX_CONFIG, exit_code

def run(*words):
    return CliRunner().invoke(sealwire, ["audit", *words])

Path("log").write_text("{}\\n{}\\n")
assert run("count", "log").output == "2\\n"
assert json.loads(run("count", "log", "--json").output) == {"lines": 2}
assert "Count the lines of a log." in run("--help").output
assert "Exit codes" in run("count", "--help").output
error = run("count", "none").exception
assert isinstance(error, AuditFileProblem) and exit_code(error) == EX_CONFIG
"""

A_COMPRESSOR = {
    "wire/compressors.py": {
        "_OPENERS: Final": (
            "@final\n"
            "class Xz:\n"
            '    name = "xz"\n'
            "    number = 4\n\n"
            "    def inflate(self, data: bytes, size: int) -> bytes:\n"
            "        import lzma\n\n"
            "        inflated = lzma.LZMADecompressor().decompress(data, size + 1)\n"
            "        if len(inflated) != size:\n"
            "            raise Uninflatable\n"
            "        return inflated\n\n"
            "    def compress(self, data: bytes) -> bytes:\n"
            "        import lzma\n\n"
            "        return lzma.compress(data)\n\n\n"
            "_OPENERS: Final"
        ),
        "    Zlib.name: Zlib,\n": "    Zlib.name: Zlib,\n    Xz.name: lambda _: Xz(),\n",
    }
}
AGREES_ON_IT = """
from sealwire.proxy.server.config.sections import compressors
from sealwire.proxy.session.requests import COMPRESSED_LABELS

[xz, zlib] = compressors(parse("", listen="compression: 'xz, zlib'").listen_compression)
assert (xz.name, xz.number, zlib.name) == ("xz", 4, "zlib")
assert xz.inflate(xz.compress(bytes(5000)), 5000) == bytes(5000)
assert "`xz`" in SETTINGS["listen.compression"].value.shown
assert "xz" in hint_of("", listen="compression: xs")
assert {name for _, _, name in COMPRESSED_LABELS.values()} == {"snappy", "zstd", "zlib", "xz"}
"""

A_PLACE_FOR_COPIES = {
    "proxy/server/audit_writer/destinations.py": {
        "@dataclass(frozen=True, slots=True)\nclass CopyKind:": (
            'def _file(target: "CopyTarget") -> Destination:\n'
            "    os.dup2(os.open(target.host, os.O_CREAT | os.O_WRONLY), _STDOUT)\n"
            "    return _StandardOutput()\n\n\n"
            "@dataclass(frozen=True, slots=True)\nclass CopyKind:"
        ),
        "COPY_KINDS: Final = (\n": 'COPY_KINDS: Final = (\n    CopyKind("file", "PATH", _file),\n',
    }
}
SENDS_THERE = """
from sealwire.proxy.server.audit_writer.destinations import parse_copy

place = Path("copy").resolve()
config = parse(f"audit: {{path: a, copies: ['file:{place}', stdout]}}")
assert config.audit.copies == (f"file:{place}", "stdout")
parse_copy(f"file:{place}").open().send([b"{}"])
assert place.read_bytes() == b"{}\\n"
assert "`file:PATH`" in SETTINGS["audit.copies"].value.shown
assert "file:PATH" in hint_of("audit: {path: a, copies: ['file:copy']}")
"""

WALKS = {
    "operator": (AN_OPERATOR, PLANS_IT),
    "format": (A_FORMAT, OPENS_IT),
    "provider": (A_PROVIDER, CONFIGURED + WRAPS_BY_IT),
    "setting": (A_SETTING, CONFIGURED + READS_IT),
    "command": (A_COMMAND, RUNS_IT),
    "compressor": (A_COMPRESSOR, CONFIGURED + AGREES_ON_IT),
    "place for copies": (A_PLACE_FOR_COPIES, CONFIGURED + SENDS_THERE),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The product, as a checkout has it."""
    for room in {*(room.partition("/")[0] for room in PRODUCT), "sealwire"}:
        shutil.copytree(ROOT / room, tmp_path / room, symlinks=True)
    return tmp_path


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_touches_the_files_that_it_names_and_is_all_that_it_takes(tree: Path, name: str) -> None:
    edits, program = WALKS[name]
    assert len(edits) <= MOST_FILES - (name == "setting")  # one is left for what uses it
    for path, changes in edits.items():
        assert f"`{path}`" in CONTRIBUTING or not (ROOT / path).exists()
        file = tree / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for old, new in changes.items():
            assert not old or text.count(old) == 1
            text = text.replace(old, new, 1)
        file.write_text(text, encoding="utf-8")
    done = ran(
        [sys.executable, "-c", program], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
