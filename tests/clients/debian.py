"""The clients that Debian packages, in C, Go, Java, PHP and Ruby: how each is installed, built and run.

Packages are installed where tests run as root on Debian, about 115 MB in all; programs are built into
build/debian-clients, once for each text of the program and each version of the packages.

Two drivers are old. Ruby's and Java's know SCRAM-SHA-1 only, so `older_login` comes before them.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sealwire.testbed.mongo_server import User
from tests.build_context import ROOT
from tests.clients.harness import Client, Command, Ways, program
from tests.support.debian import require_files
from tests.support.runs import ran
from tests.support.secantus import ROOT as USER

BUILT: Final = ROOT / "build" / "debian-clients"
OLDER: Final = User("older", "older", (("root", "admin"),))
TRUST_PASSWORD: Final = "only certificates"

_JARS: Final = Path("/usr/share/java/mongo-java-driver.jar")
_BUILD_WITHIN_S: Final = 1500
_REFUSED: Final = {"prefix": "pattern", "unknown command": "unknown-command"}


def older_login(ways: Ways) -> None:
    """Make the user of the drivers that know SCRAM-SHA-1 only, on both servers."""
    for server in (ways.plain, ways.covered):
        with server.connect(USER) as client:
            roles = [{"role": role, "db": database} for role, database in OLDER.roles]
            client.admin.command(
                "createUser", OLDER.name, pwd=OLDER.password, roles=roles, mechanisms=["SCRAM-SHA-1"]
            )


def for_older(uri: str) -> str:
    """The connection string with that user's login."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{OLDER.name}:{OLDER.password}@{rest.partition('@')[2]}".replace("SHA-256", "SHA-1")


def _c() -> Command:
    headers = (Path("/usr/include/libmongoc-1.0"), Path("/usr/include/libbson-1.0"))
    require_files(
        {"usr/bin/gcc": "gcc", "usr/include/libmongoc-1.0/mongoc/mongoc.h": "libmongoc-dev"}, "libc6-dev"
    )
    source, built = _place("with_c.c", "libmongoc-dev")
    flags = ["-O1", "-Wall", *(f"-I{folder}" for folder in headers)]
    return _built(["gcc", *flags, source, "-o", built, "-lmongoc-1.0", "-lbson-1.0"], built)


def _go() -> Command:
    """Cost: half a minute of one core, nearly all for Go's own library and the driver."""
    driver = "usr/share/gocode/src/go.mongodb.org/mongo-driver/mongo/client.go"
    require_files({"usr/bin/go": "golang-go", driver: "golang-mongodb-mongo-driver-dev"})
    source, built = _place("with_go.go", "golang-mongodb-mongo-driver-dev")
    environment = {
        "CGO_ENABLED": "0",
        "GO111MODULE": "off",
        "GOCACHE": str(BUILT / "go-cache"),
        "GOPATH": "/usr/share/gocode",
        "GOTOOLCHAIN": "local",
    }
    return _built(["go", "build", "-gcflags=all=-N -l", "-o", built, source], built, environment)


def _php() -> Command:
    require_files({"usr/bin/php": "php-cli", "usr/lib/php/*/mongodb.so": "php-mongodb"})
    return ["php", program("with_php.php")]


def _ruby() -> Command:
    require_files({"usr/bin/ruby": "ruby", "usr/lib/ruby/vendor_ruby/mongo.rb": "ruby-mongo"})
    return ["ruby", program("with_ruby.rb")]


def java_client(authority: Path) -> Client:
    """Java's, whose driver takes the authorities that it trusts from a store of the virtual machine."""
    return Client(
        "Java driver",
        "Java",
        lambda: _java(authority),
        refused=_REFUSED,
        respell=_for_java,
        absent={"transaction": "its driver is older"},
        note="Debian's libmongodb-java of 2018: connects by legacy queries; find and modify by `runCommand`",
    )


def _for_java(uri: str) -> str:
    """Its word for TLS is another one."""
    return re.sub(r"&tlsCAFile=[^&]+", "", for_older(uri)).replace("tls=true", "ssl=true")


def _java(authority: Path) -> Command:
    """The Java program. Its driver takes authorities from a store that the virtual machine is given."""
    require_files(
        {"usr/bin/javac": "default-jdk-headless", "usr/share/java/mongo-java-driver.jar": "libmongodb-java"}
    )
    source, built = _place("WithJava.java", "libmongodb-java")
    if not (built / "WithJava.class").is_file():
        _run(["javac", "-cp", _JARS, "-d", built, source])
    store = authority.with_name("authority.p12")
    if not store.is_file():
        importing: list[str | Path] = [
            "keytool",
            "-importcert",
            "-noprompt",
            "-alias",
            "authority",
            "-file",
            authority,
        ]
        _run([*importing, "-keystore", store, "-storetype", "PKCS12", "-storepass", TRUST_PASSWORD])
    trust = [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={TRUST_PASSWORD}"]
    return ["java", *trust, "-cp", f"{built}:{_JARS}", "WithJava"]


def _place(name: str, package: str) -> tuple[Path, Path]:
    """The source, and where what is built of it goes: another place for each version of both."""
    source = program(name)
    done = ran(["dpkg-query", "--show", package], check=True, timeout=_BUILD_WITHIN_S)
    digest = hashlib.sha256(source.read_bytes() + done.stdout.encode()).hexdigest()[:16]
    BUILT.mkdir(parents=True, exist_ok=True)
    return source, BUILT / f"{source.stem}-{digest}"


def _built(command: Command, built: Path, environment: Mapping[str, str] | None = None) -> Command:
    if not built.is_file():
        _run(command, environment)
    return [built]


def _run(command: Command, environment: Mapping[str, str] | None = None) -> None:
    done = ran(command, env=os.environ | dict(environment or {}), timeout=_BUILD_WITHIN_S)
    assert done.returncode == 0, done.stderr[-4000:] or done.stdout[-4000:]


CLIENTS = (
    Client("C driver", "C", _c, refused=_REFUSED, note="Debian's libmongoc"),
    Client("Go driver", "Go", _go, refused=_REFUSED, note="Debian's golang-mongodb-mongo-driver"),
    Client(
        "PHP driver",
        "PHP",
        _php,
        refused=_REFUSED,
        absent={"GridFS": "the extension has none"},
        note="Debian's php-mongodb: the extension alone",
    ),
    Client(
        "Ruby driver",
        "Ruby",
        _ruby,
        refused=_REFUSED,
        respell=for_older,
        absent={"transaction": "its driver is older"},
        note="Debian's ruby-mongo of 2018: programs read connection strings; find and modify by `command`",
    ),
)
