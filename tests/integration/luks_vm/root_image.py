"""The virtual machine's disks: Debian with systemd and a kernel, and Sealwire as it is installed there.

Everything is kept in build/luks-vm and made again when what it is made of has changed. Nothing is installed
on the host but the tools that make and run the images; the kernel's package is only unpacked.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.build_context import ROOT, copy_build_context
from tests.support.debian import require_programs

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
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.stdout
