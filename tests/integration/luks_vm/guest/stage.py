"""Runs inside the virtual machine: `stage.py NAME`. Prints `@@ok`/`@@FAIL` lines, which the test reads.

Uses nothing but the standard library and the `sealwire` command, as an operator would.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DATA = Path("/var/lib/mongodb")
OLD = Path("/var/lib/mongodb.plain")
KEY = Path("/etc/cryptsetup-keys.d/mongodb.key")
DEVICE = "/dev/disk/by-id/virtio-luksdata"
KEPT = Path("/var/lib/luks-test")
PAYLOAD = Path("/payload")
# Put together here, so that the marker itself is in no file but the database's.
MARKER = "-".join(("PLAINTEXT", "PATIENT", "7f3a91"))
PASSPHRASE = "six wooden barrels under the moor"
RECOVERY = "another long recovery phrase 42"
COSTS = ["--pbkdf-memory", "32768", "--pbkdf-iterations", "4", "--pbkdf-threads", "1"]

failures: list[str] = []


def say(text: str) -> None:
    print(text, flush=True)


def check(what: str, holds: object, detail: object = "") -> None:
    if not holds:
        failures.append(what)
    say(f"@@{'ok' if holds else 'FAIL'} {what}" + ("" if holds else f": {detail}"))


def run(*command: str, secret: str = "", second: str = "") -> subprocess.CompletedProcess[str]:
    """The command with `secret` on descriptor 3 and `second` on descriptor 4, where it asks for them."""
    pipes = [os.pipe(), os.pipe()]
    for (_, writing), text in zip(pipes, (secret, second), strict=True):
        os.write(writing, text.encode())
        os.close(writing)
    reading = tuple(pipe[0] for pipe in pipes)
    command = tuple(part.format(first=reading[0], second=reading[1]) for part in command)
    begun = time.monotonic()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, pass_fds=reading, check=False
    )
    for descriptor in reading:
        os.close(descriptor)
    say(f"$ {' '.join(command)} -> {done.returncode} in {time.monotonic() - begun:.1f} s")
    for line in (done.stdout + done.stderr).splitlines():
        say(f"  | {line}")
    return done


def luks(*arguments: str, secret: str = PASSPHRASE, second: str = "") -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "sealwire", "luks", *arguments, secret=secret, second=second)


def works(*command: str) -> bool:
    return run(*command).returncode == 0


def digests() -> dict[str, str]:
    names = (path for path in DATA.rglob("*") if path.is_file() and path.name != "starts")
    return {
        str(path.relative_to(DATA)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in names
        if "lost+found" not in path.parts
    }


def check_data() -> None:
    check("the data is what it was", digests() == json.loads((KEPT / "digests").read_text()))
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    check("the service started in this boot, on this data", boot in (DATA / "starts").read_text())
    owner = (DATA / "collection-1.wt").stat()
    check("owner and mode are what they were", (DATA.stat().st_mode & 0o777, owner.st_uid) == (0o750, 970))


def is_mounted() -> bool:
    return os.path.ismount(DATA)


def service_runs() -> bool:
    return run("systemctl", "is-active", "mongod").returncode == 0


def encryption() -> dict[str, object]:
    found: dict[str, object] = json.loads(luks("status", "--json").stdout)
    return found


def prepare() -> None:
    """A running service with data in plaintext."""
    run("groupadd", "-r", "-g", "970", "mongodb")
    run("useradd", "-r", "-u", "970", "-g", "mongodb", "-d", str(DATA), "mongodb")
    (DATA / "journal").mkdir(parents=True)
    for number in range(1, 13):
        content = f"{MARKER} {number}\n".encode() + os.urandom(6_000_000)
        (DATA / f"collection-{number}.wt").write_bytes(content)
    (DATA / "journal" / "WiredTigerLog.0000000001").write_text(MARKER)
    os.link(DATA / "collection-1.wt", DATA / "journal" / "linked")
    (DATA / "starts").touch()
    run("chown", "-R", "mongodb:mongodb", str(DATA))
    run("chmod", "750", str(DATA))
    KEPT.mkdir()
    (KEPT / "digests").write_text(json.dumps(digests()))
    (KEPT / "fstab").write_bytes(Path("/etc/fstab").read_bytes())
    (KEPT / "service.py").write_bytes((PAYLOAD / "guest" / "service.py").read_bytes())
    Path("/etc/systemd/system/mongod.service").write_text(
        "[Service]\nType=notify\nUser=mongodb\n"
        f"ExecStart=/usr/bin/python3 {KEPT}/service.py\n[Install]\nWantedBy=multi-user.target\n"
    )
    run("systemctl", "daemon-reload")
    check("the service runs on plaintext", works("systemctl", "enable", "--now", "mongod") and service_runs())
    check("status says so, with exit code 1", luks(*STATUS_BEFORE).returncode == 1)
    os.sync()


STATUS_BEFORE = ("status", "--data-directory", str(DATA), "--service", "mongod.service")
SETUP = ("setup", DEVICE, "--key-file", str(KEY), *COSTS, "--yes")


def cut() -> None:
    """Begin; the host pulls the plug while data is copied."""
    prepare()
    wrong = luks("plan", "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_root", "--json")
    reasons = {finding["reason"] for finding in json.loads(wrong.stdout)["findings"]}
    check("the root disk is refused", wrong.returncode == 1 and "device-in-use" in reasons, reasons)
    near = luks("plan", DEVICE, "--key-file", "/mnt/key", "--json")
    check("the empty disk is taken", near.returncode == 0)
    weak = luks(*SETUP, "--passphrase-from", "fd:{first}", secret="short")
    check("a weak passphrase is refused and nothing was stopped", weak.returncode == 78 and service_runs())
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode())
    os.close(writing)
    command = [sys.executable, "-m", "sealwire", "luks", *SETUP, "--passphrase-from", f"fd:{reading}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, pass_fds=(reading,)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            say(f"  | {line.rstrip()}")
            if "copy the data" in line:
                wait_until_some_files_are_copied(process)
                say("@@cut me off")
    check("the plug was pulled in time", False, "the set-up came to its end")


def wait_until_some_files_are_copied(process: "subprocess.Popen[str]") -> None:
    staging = Path("/run/sealwire-luks/mongodb")
    while process.poll() is None and len(list(staging.glob("collection-*.wt"))) < 3:
        time.sleep(0.02)


def resume() -> None:
    """After the power cut."""
    check("the service is kept from starting in the middle", not service_runs())
    check("the plaintext data is untouched", digests() == json.loads((KEPT / "digests").read_text()))
    again = luks(*SETUP, "--passphrase-from", "fd:{first}")
    check("a set-up that is under way is not begun anew", again.returncode == 78)
    check("it is resumed with the key file alone", luks("setup", "--resume").returncode == 0)
    found = encryption()
    check(
        "what the service has open lies on dm-crypt", found["encrypted"] and found["encrypted_files"], found
    )
    wanted = ("aes-xts-plain64", 512, 2, ["argon2id"])
    shown = tuple(found[key] for key in ("cipher", "key_bits", "key_slots", "key_derivation"))
    check("AES-256-XTS, Argon2id, two key slots", shown == wanted, shown)
    kind = run("findmnt", "--noheadings", "--output", "FSTYPE", str(DATA)).stdout.strip()
    check("on XFS, unless told otherwise", kind == "xfs", kind)
    check_data()
    (KEPT / "kek").write_text(base64.b64encode(os.urandom(32)).decode())
    os.environ["SEALWIRE_KEK"] = (KEPT / "kek").read_text()
    added = luks(
        *("add-key", DEVICE, "--key-file", str(KEY), "--new-passphrase-from", "fd:{second}", *COSTS),
        second=RECOVERY,
    )
    check("a recovery passphrase is added", added.returncode == 0 and "3 key slots" in added.stdout)
    header = str(KEPT / "header.sealed")
    check("the header is backed up", luks("backup-header", DEVICE, "--to", header).returncode == 0)
    in_use = luks("restore-header", DEVICE, "--from", header, "--confirm", DEVICE)
    check("a header is not restored under a running volume", in_use.returncode == 73)
    check("a second set-up on it is refused", luks("plan", DEVICE).returncode == 1)
    check("closed by command", luks("close").returncode == 0 and not Path("/dev/mapper/mongodb").exists())
    check("the start of the service pulls unlocking and mounting", works("systemctl", "start", "mongod"))
    check("it does", is_mounted() and service_runs())


def reboot() -> None:
    """The first boot with the key file in place."""
    check("unlocked and mounted at boot", is_mounted())
    check("the service is up", service_runs())
    check("no unit failed", run("systemctl", "--failed", "--no-legend", "--plain").stdout.strip() == "")
    check_data()
    check("status: exit code 0", luks("status").returncode == 0)
    check("the plaintext copy is still there", OLD.is_dir())
    check("it is not wiped unasked", luks("finish", "--wipe-old").returncode == 77 and OLD.is_dir())
    done = luks("finish", "--wipe-old", "--confirm", str(OLD))
    check("it is wiped when asked", done.returncode == 0 and not OLD.exists())
    KEY.rename(KEPT / "moved.key")


def nokey() -> None:
    """A boot without the key file, then with a wrong one."""
    check("no key: not mounted", not is_mounted())
    check("no key: the service does not start", not service_runs())
    check("no key: nothing can be written under the mount point", not works("touch", str(DATA / "x")))
    check("no key: status says no", luks("status").returncode == 1)
    run("systemctl", "start", "mongod")
    check("no key: the service cannot be started by hand", not service_runs())
    KEY.write_bytes(b"w" * 64)
    KEY.chmod(0o400)
    run("systemctl", "reset-failed")
    run("systemctl", "start", "mongod")
    check("wrong key: the service does not start", not service_runs() and not is_mounted())
    wrong = luks(
        "open", DEVICE, "--name", "other", "--passphrase-from", "fd:{first}", secret=PASSPHRASE + "x"
    )
    check("wrong passphrase: denied", wrong.returncode == 77)
    (KEPT / "moved.key").replace(KEY)
    run("systemctl", "reset-failed")
    check("key back: the service starts", works("systemctl", "start", "mongod") and service_runs())
    check_data()


def restore() -> None:
    """The host has wiped the key slots: the header comes back from its backup. Then back to plaintext."""
    os.environ["SEALWIRE_KEK"] = (KEPT / "kek").read_text()
    header = str(KEPT / "header.sealed")
    check("wiped key slots: not mounted, not started", not is_mounted() and not service_runs())
    given = luks("restore-header", DEVICE, "--from", header, "--confirm", DEVICE)
    check("the header is restored", given.returncode == 0)
    run("systemctl", "reset-failed")
    check("the service starts", works("systemctl", "start", "mongod") and service_runs())
    check_data()
    check("closed", luks("close").returncode == 0)
    script = str(PAYLOAD / "site" / "sealwire" / "sidecars" / "luks" / "recovery.sh")
    check("recovery.sh opens it", works("sh", script, "open", DEVICE, "/mnt/rescue", str(KEY)))
    check("recovery.sh copies it out", works("sh", script, "copy", "/mnt/rescue", str(KEPT / "rescued")))
    check("recovery.sh closes it", works("sh", script, "close", "/mnt/rescue"))
    with_recovery = luks(
        *("open", DEVICE, "--name", "other", "--read-only", "--mount", "/mnt/other"),
        *("--passphrase-from", "fd:{first}"),
        secret=RECOVERY,
    )
    check(
        "the recovery passphrase opens it",
        with_recovery.returncode == 0 and any(Path("/mnt/other").iterdir()),
    )
    check("closed again", luks("close", "--name", "other", "--mount", "/mnt/other").returncode == 0)
    run("systemctl", "start", "mongod")
    check("rolled back", luks("rollback", "--yes").returncode == 0)
    check("the service runs on plaintext again", service_runs() and not is_mounted() and not OLD.exists())
    check_data()
    check("fstab is what it was", Path("/etc/fstab").read_bytes() == (KEPT / "fstab").read_bytes())
    check("crypttab has no line of it", "mongodb" not in Path("/etc/crypttab").read_text())
    check("the volume is closed", not Path("/dev/mapper/mongodb").exists())
    on_an_image()


def on_an_image() -> None:
    """The same on a file image, which systemd attaches to a loop device; its key lies on another disk."""
    image = ("setup", "/srv/volume.img", "--image-size", "192", "--name", "image", "--file-system", "ext4")
    near = luks(*image, "--key-file", "/etc/image.key", "--yes", "--passphrase-from", "fd:{first}")
    check("a key beside the image is refused", near.returncode == 78 and service_runs())
    key = ("--key-file", str(PAYLOAD / "image.key"))
    done = luks(*image, *key, *COSTS, "--yes", "--passphrase-from", "fd:{first}")
    check("set up on an image", done.returncode == 0)
    check("the image is what the data lies on", luks("status", "--name", "image").returncode == 0)
    check_data()
    check("closed", luks("close", "--name", "image").returncode == 0 and not is_mounted())
    check("systemd opens the image by its tables", works("systemctl", "start", "mongod") and is_mounted())


STAGES: dict[str, Callable[[], None]] = {
    "cut": cut,
    "resume": resume,
    "reboot": reboot,
    "nokey": nokey,
    "restore": restore,
}

if __name__ == "__main__":
    say(f"@@begin {sys.argv[1]} {Path('/proc/uptime').read_text().split()[0]}")
    STAGES[sys.argv[1]]()
    sys.exit(1 if failures else 0)
