"""One virtual machine under software emulation: its disks, and boots that run one stage each.

Never KVM: where the processor cannot nest, qemu stays there paused and does not fail. Disks use qemu's
default cache mode, so that what the guest did not flush is lost when qemu is killed.
"""

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.build_context import ROOT, copy_build_context
from tests.support.debian import require_programs
from tests.support.runs import ran

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


# The virtual machine's disks: Debian with systemd and a kernel, and Sealwire as it is installed there.


CACHE = ROOT / "build" / "luks-vm"
HERE = Path(__file__).resolve().parent
GUEST_PYTHON = "3.13"  # of Debian 13

_RELEASE = "trixie"
_KERNEL = "linux-image-cloud-amd64"  # 35 MB; NVMe and ext4 are built in, so that no initramfs is needed
_GUEST_PACKAGES = (
    "systemd-sysv,udev,kmod,mount,cryptsetup,systemd-cryptsetup,e2fsprogs,xfsprogs,rsync"
    ",python3-minimal,libpython3-stdlib"
)
_HOST_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "cryptsetup": "cryptsetup-bin",
    "mke2fs": "e2fsprogs",
}


def require_tools() -> None:
    """The host's tools; libarchive beside them, by which mke2fs reads a tar."""
    require_programs(_HOST_TOOLS, "libarchive13t64")


def build_root() -> tuple[Path, Path]:
    """Kernel and root image. Made once, about 40 s and 95 MB of downloads, then kept."""
    CACHE.mkdir(parents=True, exist_ok=True)
    kernel, image, stamp = CACHE / "vmlinuz", CACHE / "root.img", CACHE / "root.stamp"
    package = _kernel_package()
    inputs = [Path(__file__).read_bytes(), (HERE / "image_hook.sh").read_bytes(), package.encode()]
    wanted = hashlib.sha256(b"\0".join(inputs)).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return kernel, image
    stamp.unlink(missing_ok=True)
    modules = _unpack_kernel(package, kernel)
    tar = CACHE / "root.tar"
    hooks = [
        f'cp -a {modules} "$1"/usr/lib/modules/ && chroot "$1" depmod {modules.name}',
        f'{HERE / "image_hook.sh"} "$1"',
    ]
    _run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={_GUEST_PACKAGES}",
            '--aptopt=APT::Install-Recommends "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale", "i18n")),
            '--customize-hook=mkdir -p "$1"/usr/lib/modules',
            *(f"--customize-hook={hook}" for hook in hooks),
            _RELEASE,
            str(tar),
            "/etc/apt/sources.list.d/debian.sources",
        ]
    )
    _make_image(image, "1200M", tar)
    tar.unlink()
    stamp.write_text(wanted)
    return kernel, image


def build_payload(target: Path) -> None:
    """The disk with Sealwire, its locked dependencies for the guest's Python, and the guest's scripts."""
    lock = ROOT / "requirements" / "runtime.txt"
    folder = CACHE / f"site-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        platforms = [
            f"--platform={name}_x86_64" for name in ("manylinux_2_34", "manylinux_2_28", "manylinux2014")
        ]
        options = [f"--python-version={GUEST_PYTHON}", *platforms, "--only-binary=:all:", "--no-deps"]
        _pip("install", f"--target={partial}", *options, "--require-hashes", f"--requirement={lock}")
        partial.rename(folder)
    staging = target.with_suffix(".tree")
    shutil.copytree(folder, staging / "site")
    source, wheels = target.with_suffix(".source"), target.with_suffix(".wheels")
    source.mkdir()
    copy_build_context(source)
    _pip("wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={wheels}", str(source))
    (wheel,) = wheels.glob("sealwire-*.whl")
    shutil.unpack_archive(wheel, staging / "site", "zip")
    shutil.copytree(HERE / "guest", staging / "guest", ignore=shutil.ignore_patterns("__pycache__"))
    _make_image(target, "384M", staging)


def _kernel_package() -> str:
    listing = _run(["apt-cache", "depends", _KERNEL])
    names = (line.split()[-1] for line in listing.splitlines() if "Depends: linux-image-" in line)
    return next(names)


def _unpack_kernel(package: str, kernel: Path) -> Path:
    """Put the kernel at `kernel`; the folder of its modules."""
    unpacked = CACHE / "kernel"
    shutil.rmtree(unpacked, ignore_errors=True)
    for old in CACHE.glob("linux-image-*.deb"):
        old.unlink()
    _run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], cwd=CACHE)
    (archive,) = CACHE.glob("linux-image-*.deb")
    _run(["dpkg", "-x", str(archive), str(unpacked)])
    (modules,) = (unpacked / "usr" / "lib" / "modules").iterdir()
    shutil.copyfile(unpacked / "boot" / f"vmlinuz-{modules.name}", kernel)
    return modules


def _make_image(image: Path, size: str, content: Path) -> None:
    image.unlink(missing_ok=True)
    _run(["truncate", "-s", size, str(image)])
    _run(["mke2fs", "-q", "-t", "ext4", "-d", str(content), str(image)])


def _pip(*arguments: str) -> None:
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments])


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = ran(command, cwd=cwd)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout
