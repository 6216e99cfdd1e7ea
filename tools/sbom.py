"""Make build/wheels/sealwire.cdx.json: the parts of Sealwire as installed, a CycloneDX bill of materials.

    python -m tools.sbom

Its components are those of requirements/runtime.txt with their hashes, so the same lock gives the same file.
The image holds one of its own, of what really lies in it: /opt/sealwire/share/sealwire.cdx.json.
"""

import subprocess
import sys
from pathlib import Path

from tools.tool_venv import ROOT, deploy_python

FILE = ROOT / "build" / "wheels" / "sealwire.cdx.json"


def main() -> int:
    """Write the file, and say where it is."""
    print(write_sbom(FILE).relative_to(ROOT))
    return 0


def write_sbom(file: Path) -> Path:
    """Ask cyclonedx-py for it, which checks it by CycloneDX' schema. Raises:  CalledProcessError"""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, project = (str(ROOT / name) for name in ("requirements/runtime.txt", "pyproject.toml"))
    options = ["--pyproject", project, "--of", "JSON", "--output-reproducible", "--output-file", str(file)]
    command = [str(deploy_python()), "-m", "cyclonedx_py", "requirements", *options, lock]
    subprocess.run(command, check=True)
    return file


if __name__ == "__main__":
    sys.exit(main())
