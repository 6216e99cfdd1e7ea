"""Write the frozen vectors of backup format 1: `python -m tests.sidecars.backup.make_backup_vectors`.

Run once for a new format; the file of a released one never changes, and a test says so. Files that are there
stay.
"""

import base64
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from sealwire.audit.signing import SigningKey
from sealwire.sidecars.backup.sealed.key_slots import Recipient
from tests.keys.samples import KEK_A
from tests.sidecars.backup.samples import KEK, PRIVATE, SIGNING, SMALL_CHUNK, local, make_dump, seal

TARGET = Path(__file__).parent / "vectors" / "backup-1.json"
SIGNED_TARGET = TARGET.with_name("backup-signed-1.json")


def main() -> None:
    if not TARGET.exists():
        write(TARGET, None)
    if not SIGNED_TARGET.exists():
        write(SIGNED_TARGET, SIGNING)


def write(target: Path, sign_with: SigningKey | None) -> None:
    vectors = []
    both: list[tuple[str, list[Recipient]]] = [("kek", [KEK]), ("key pair and kek", [PRIVATE.public, KEK])]
    for title, recipients in both:
        with TemporaryDirectory() as directory:
            seal(local(Path(directory)), recipients=recipients, sign_with=sign_with)
            files = {
                path.name: path.read_bytes() for path in Path(directory).iterdir() if path.suffix != ".lock"
            }
        vectors.append(
            {
                "title": title,
                "payload": base64.b64encode(files["b.tar.gz.enc"]).decode(),
                "sidecar": base64.b64encode(files["b.tar.gz.enc.json"]).decode(),
                "tar_sha256": hashlib.sha256(make_dump()[0]).hexdigest(),
            }
        )
    content: dict[str, object] = {
        "format": 1,
        "kek": KEK_A.hex(),
        "private_key": bytes(range(32)).hex(),
        "chunk_bytes": SMALL_CHUNK,
        "vectors": vectors,
    }
    if sign_with is not None:
        content["verification_key"] = str(sign_with.verification)
    target.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
