"""The bill of materials: a valid CycloneDX document of what the lock installs, and of nothing else."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.build_context import ROOT
from tests.test_locks import pins
from tools.sbom import deploy_python, write_sbom

_VALIDATE = """
import sys
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(0 if error is None else str(error))
"""

pytestmark = pytest.mark.slow


def assert_valid(file: Path) -> None:
    command = [str(deploy_python()), "-c", _VALIDATE, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sbom(tmp_path_factory.mktemp("sbom") / "sealwire.cdx.json")


def test_cyclonedx_takes_it_and_would_not_take_another(sbom: Path, tmp_path: Path) -> None:
    assert_valid(sbom)
    document: dict[str, Any] = json.loads(sbom.read_text(encoding="utf-8"))
    document["components"][0]["type"] = "sidecar"
    (tmp_path / "wrong.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(AssertionError):
        assert_valid(tmp_path / "wrong.json")


def test_it_lists_what_the_lock_pins_with_every_hash(sbom: Path) -> None:
    document = json.loads(sbom.read_text(encoding="utf-8"))
    listed: dict[str, set[str]] = {}
    for component in document["components"]:
        listed.setdefault(component["name"], set()).add(component["version"])
        assert component["purl"].startswith("pkg:pypi/")
        assert any("hashes" in each for each in component["externalReferences"])
    assert listed == pins("runtime")
    assert document["metadata"]["component"]["name"] == "sealwire"


def test_the_same_lock_gives_the_same_file(sbom: Path, tmp_path: Path) -> None:
    assert write_sbom(tmp_path / "again.json").read_bytes() == sbom.read_bytes()


def test_make_sbom_says_where_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.sbom"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "build/wheels/sealwire.cdx.json\n"
