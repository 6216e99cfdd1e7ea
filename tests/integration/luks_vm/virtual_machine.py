"""One virtual machine under software emulation: its disks, and boots that run one stage each.

Never KVM: where the processor cannot nest, qemu stays there paused and does not fail. Disks use qemu's
default cache mode, so that what the guest did not flush is lost when qemu is killed.
"""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

BOOT_SECONDS = 900  # a bound, not a measure: emulation on a busy machine is slow
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage said."""

    lines: tuple[str, ...]
    log: str

    @property
    def passed(self) -> list[str]:
        return [line.removeprefix("@@ok ") for line in self.lines if line.startswith("@@ok ")]

    @property
    def failed(self) -> list[str]:
        return [line.removeprefix("@@FAIL ") for line in self.lines if line.startswith("@@FAIL ")]

    @property
    def ended(self) -> bool:
        return any(line.startswith("@@end ") for line in self.lines)


class VirtualMachine:
    """Three disks: the root (NVMe), the one to be encrypted, the payload; known by their serial numbers."""

    def __init__(self, folder: Path, kernel: Path, root_image: Path, payload: Path) -> None:
        self._folder = folder
        self._kernel = kernel
        self._payload = payload
        self.root = folder / "root.img"
        self.data = folder / "data.img"
        subprocess.run(["cp", "--sparse=always", str(root_image), str(self.root)], check=True)
        with self.data.open("wb") as file:
            file.truncate(384 << 20)

    def boot(self, stage: str, *, kill_at: str | None = None) -> StageResult:
        """Run `stage` until the machine is off; with `kill_at`, pull the plug when the stage says that line.

        Raises TimeoutError, with the end of the console, after BOOT_SECONDS.
        """
        result, console = self._folder / f"{stage}.result", self._folder / f"{stage}.console"
        with subprocess.Popen(
            self._command(stage, console, result), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as qemu:
            deadline = time.monotonic() + BOOT_SECONDS
            while qemu.poll() is None:
                if kill_at is not None and kill_at in _text(result):
                    qemu.kill()
                    break
                if time.monotonic() > deadline:
                    qemu.kill()
                    raise TimeoutError(f"{stage}: {_text(result)[-2000:]}\n{_text(console)[-4000:]}")
                time.sleep(_POLL_SECONDS)
            _, errors = qemu.communicate()
        text = _text(result)
        return StageResult(tuple(text.splitlines()), f"{text}\n{errors.decode()}\n{_text(console)[-4000:]}")

    def wipe_key_slots(self) -> None:
        """Zeros over the key slots, from 32 KiB to 16 MiB; the two JSON headers before them stay."""
        with self.data.open("r+b") as file:
            file.seek(32 << 10)
            file.write(bytes((16 << 20) - (32 << 10)))

    def _command(self, stage: str, console: Path, result: Path) -> list[str]:
        kernel_line = (
            "root=/dev/nvme0n1 rw console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on "
            f"systemd.unit=luks-test.target systemd.log_target=journal luks_test={stage}"
        )
        program = shutil.which("qemu-system-x86_64") or "qemu-system-x86_64"
        machine = ["-machine", "q35,usb=off,vmport=off", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]
        plain = ["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-nic", "none"]
        command = [program, *machine, "-smp", "2", "-m", "1024", *plain, "-no-reboot"]
        command += ["-kernel", str(self._kernel), "-append", kernel_line, "-device", "virtio-rng-pci"]
        command += ["-serial", f"file:{console}", "-serial", f"file:{result}"]
        disks = (
            (self.root, "nvme", "root"),
            (self.data, "virtio-blk-pci", "luksdata"),
            (self._payload, "virtio-blk-pci", "payload"),
        )
        for number, (image, kind, serial) in enumerate(disks):
            command += ["-drive", f"if=none,id=d{number},file={image},format=raw,discard=unmap"]
            command += ["-device", f"{kind},drive=d{number},serial={serial}"]
        return command


def _text(path: Path) -> str:
    if not path.exists():
        return ""
    return path.read_bytes().decode(errors="replace").replace("\r", "")
