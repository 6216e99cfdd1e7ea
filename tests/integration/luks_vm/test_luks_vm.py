"""`sealwire luks` in a virtual machine with Debian's kernel, systemd and a disk of its own: there and back.

Five boots: a power cut while data is copied, the resumption, a boot with the key, one without and with a
wrong one, and one with wiped key slots, which ends in a rollback.
"""

import mmap
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.luks_vm.guest.stage import MARKER
from tests.integration.luks_vm.virtual_machine import (
    StageResult,
    VirtualMachine,
    build_payload,
    build_root,
    require_tools,
)
from tests.support.skips import skip_in_samples

pytestmark = [pytest.mark.integration, pytest.mark.slow(minutes=20)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[VirtualMachine]:
    skip_in_samples("a virtual machine that is emulated")
    require_tools()
    kernel, root = build_root()
    payload = tmp_path / "payload.img"
    build_payload(payload)
    yield VirtualMachine(tmp_path, kernel, root, payload)
    for image in tmp_path.glob("*.img"):
        image.unlink()


def holds(image: Path, text: str) -> bool:
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text.encode()) >= 0


def assert_passed(result: StageResult) -> None:
    print(result.log)  # shown when something fails
    assert result.failed == []
    assert result.ended
    assert result.passed


def test_from_plaintext_through_every_accident_and_back(machine: VirtualMachine) -> None:
    cut = machine.boot("cut", kill_at="@@cut me off")
    print(cut.log)
    assert cut.failed == []
    assert cut.passed
    assert not cut.ended
    # The control: searching the disks does find what lies on them in clear.
    assert holds(machine.root, MARKER)

    assert_passed(machine.boot("resume"))
    assert holds(machine.root, MARKER)  # the plaintext copy, until it is wiped
    assert not holds(machine.data, MARKER)
    subprocess.run(["cryptsetup", "isLuks", "--type", "luks2", str(machine.data)], check=True)

    assert_passed(machine.boot("reboot"))
    assert not holds(machine.root, MARKER)
    assert not holds(machine.data, MARKER)

    assert_passed(machine.boot("nokey"))
    machine.wipe_key_slots()
    assert_passed(machine.boot("restore"))
    assert holds(machine.root, MARKER)
    assert not holds(machine.data, MARKER)
