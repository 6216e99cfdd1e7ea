"""A server with two proxies before it, and classes that move from key to key while sequences run."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from bson import Int64, ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.record import DATABASE, FRONTIERS
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import rotate
from sealwire.policies.file.loader import load_policy
from sealwire.testbed.database import vouch_for_leases
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.differential.broken_proxy import BrokenProxy, Rule
from tests.integration.differential.forms import StoredForms
from tests.integration.differential.mover import MovedSite, work
from tests.integration.differential.opening import ContextOpener
from tests.integration.differential.runner import Runner
from tests.integration.differential.shapes import (
    CLASSES,
    MAY_HAVE_CONTEXTS,
    Shape,
    policy_yaml,
)
from tests.integration.differential.values import Document
from tests.support.forks import PROCESSES
from tests.support.private import private
from tests.support.secantus import secantus

SHAPES = 4
"""Fewer than where nothing moves: each window searches all of their paths."""
REFRESH_S = 1
SETTLE_S = 1.5
"""A proxy has loaded a new key by then."""
SILENT_MS = 60_000
"""After so long without an answer a client gives up: what waits has to come to an end."""
LINGER_S = 0.5
TRANSACTIONS_S = 5
"""How long transactions may last: a move waits for a lease that a busy proxy has lost until they are over."""
KILLS = 3
"""In one round of moves, so that it ends."""
SECOND_ROUND_S = 180
"""A busy machine may be that slow; elsewhere it has begun long before."""
DETERMINISTIC = tuple(name for name, said in CLASSES.items() if said["mode"] == "deterministic")
RANDOM = tuple(name for name, said in CLASSES.items() if said["mode"] == "random")

_BALLAST = "ballast"
_NUMBERS = range(16)
_WORDS = tuple(str(each) * (each % 3 + 1) for each in _NUMBERS)
_LONGS = tuple(map(Int64, _NUMBERS))
_DAYS = tuple(datetime(1950, 1, 1 + each) for each in _NUMBERS)
_YEARS = tuple(datetime(1950 + each, 1, 1) for each in _NUMBERS)
_BALLAST_VALUES: Mapping[str, tuple[Any, ...]] = {
    **{"code": _WORDS, "name": _WORDS, "count": tuple(_NUMBERS), "grade": tuple(_NUMBERS)},
    **{"total": _LONGS, "age": _LONGS, "weight": tuple(each / 2 for each in _NUMBERS)},
    **{"moment": _DAYS, "day": _DAYS, "month": _YEARS, "year": _YEARS},
    "ref": tuple(ObjectId(bytes(11) + bytes((each,))) for each in _NUMBERS),
    **{"flag": (True, False), "blob": tuple(map(bytes, _NUMBERS))},
}
"""By class, values that are there throughout: more than a sequence has, so that a move has many windows."""


@dataclass(frozen=True, slots=True)
class MovingSite:
    """A server with two proxies before it, and moves that are under way."""

    direct: MongoClient[Document]
    clients: tuple[MongoClient[Document], MongoClient[Document]]
    """Of the one proxy and of the other."""
    moves: "Moves"
    keyring: Callable[[], Keyring]
    """As it is now."""

    @property
    def frontiers(self) -> Collection[Document]:
        """Where they are written down."""
        return self.direct[DATABASE][FRONTIERS]


@contextmanager
def moving_site(
    folder: Path,
    rules: str,
    seed: int,
    classes: tuple[str, ...] = DETERMINISTIC,
    broken: Rule | None = None,
    *,
    to_clear: bool = False,
    keyed: frozenset[str] = frozenset(),
    random_classes: tuple[str, ...] = RANDOM,
    has_ballast: bool = True,
) -> Iterator[MovingSite]:
    """Classes of a policy move until the block ends, in rounds of some `classes`. Cost: 5 s.

    broken: the rule that the first proxy does without; windows move slowly then, so that it shows soon.
    keyed: the classes that have keys for contexts, which move from and to plaintext only.
    random_classes: these turn, and are re-encrypted, where classes move `to_clear`.
    has_ballast: whether the policy has the classes of shapes, so that values of all of them can lie beside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    policy = folder / "policy.yaml"
    policy.write_text(_with_ballast(rules, keyed) if has_ballast else rules)
    contexts = folder / "contexts.db"
    with secantus(folder, transaction_s=TRANSACTIONS_S) as database:
        uri_file = private(folder / "frontier.uri", database.uri())
        keys = {"refresh_s": REFRESH_S, "contexts": str(contexts)}
        settings = {"keys": keys, "frontier": {"uri_file": str(uri_file)}}
        kek = generate_encoded_kek()
        one, two = (
            ProxyOptions(folder / name, policy, database.address, None, None, False, settings, kek)
            for name in ("one", "two")
        )
        first = ProxyProcess(one) if broken is None else BrokenProxy(one, broken)
        second = ProxyProcess(two)
        second.keyring = first.keyring
        with (
            first,
            second,
            database.connect() as direct,
            MongoClient[Document](first.uri(), socketTimeoutMS=SILENT_MS) as client,
            MongoClient[Document](second.uri(), socketTimeoutMS=SILENT_MS) as other,
        ):
            vouch_for_leases(direct, first.keyring)
            if has_ballast:
                _fill(client)
            linger_s = 0.0 if broken is None else LINGER_S
            site = MovedSite(database.uri(), policy, first.keyring, kek, contexts, linger_s)
            turning = random_classes if to_clear else ()
            moves = Moves(site, seed, classes, turning, to_clear=to_clear, keyed=keyed)
            with moves.under_way():
                yield MovingSite(direct, (client, other), moves, _Keys(site))


@contextmanager
def moving_ways(
    folder: Path, shapes: tuple[Shape, ...], seed: int, broken: Rule | None = None, *, to_clear: bool = False
) -> Iterator[Runner]:
    """Both ways as `campaign.both_ways`, with two proxies, and moves until the block ends. Cost: 5 s."""
    keyed = _keyed(seed) if to_clear else frozenset[str]()
    with (
        moving_site(folder, policy_yaml(shapes), seed, broken=broken, to_clear=to_clear, keyed=keyed) as site,
        closing(SqliteContextStore(folder / "contexts.db")) as store,
    ):
        policy = load_policy((folder / "policy.yaml").read_bytes(), "policy.yaml")
        forms = StoredForms(site.frontiers)
        first, second = site.clients
        opens = ContextOpener.of(store, policy)
        runner = Runner(site.direct, first, policy, site.keyring, others=(second,), forms=forms, opens=opens)
        yield runner
        site.moves.wait_for_return()
        runner.tally.moves["classes with contexts"] += len(keyed)
        runner.tally.moves += site.moves.counted
        runner.tally.moves["values judged"] += forms.judged
        generations = [document["generation"] for document in forms.moment().values()]
        runner.tally.moves["steps of frontiers"] += sum(generations)


class _Keys:
    """The keyring as it is now; read again where the file has changed."""

    def __init__(self, site: MovedSite) -> None:
        self._site = site
        self._read = b""
        self._keyring = Keyring([])

    def __call__(self) -> Keyring:
        content = self._site.keyring.read_bytes()
        if content != self._read:
            self._read, self._keyring = content, Keyring(self._site.read_keys())
        return self._keyring


class Moves:
    """Rounds of moves: some classes get a new key, and processes move them, which are killed at random."""

    def __init__(
        self,
        site: MovedSite,
        seed: int,
        classes: tuple[str, ...],
        random_classes: tuple[str, ...] = (),
        *,
        to_clear: bool,
        keyed: frozenset[str] = frozenset(),
    ) -> None:
        self.counted: Counter[str] = Counter()
        # this one moves in each round: with keys for contexts where any class has them
        self._always = next((name for name in classes if name in keyed), classes[0])
        self._others = tuple(name for name in classes if name != self._always)
        self._random_classes = random_classes
        self._to_clear = to_clear
        self._keyed = keyed
        self._site = site
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._returning = threading.Event()
        self._failed: list[BaseException] = []

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """They go on until the block ends, wherever they are then."""
        thread = threading.Thread(target=self._run, name="moves")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self._failed:
            raise self._failed[0]

    def wait_for_return(self) -> None:
        """Until the second round has begun, in which what left comes back, or one has failed."""
        self._returning.wait(SECOND_ROUND_S)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
        except BaseException as error:  # noqa: BLE001 - raised where the block ends
            self._failed.append(error)
        finally:
            self._returning.set()

    def _round(self) -> None:
        """The first has what every campaign is to have, however few rounds a busy machine comes to."""
        is_first = not self.counted["rounds"]
        names = (self._always, *self._chance.sample(self._others, min(2, len(self._others))))
        self._make_versions(names, surely=is_first)
        if not is_first:
            self._returning.set()
        self._stop.wait(SETTLE_S)
        kills = self._chance.randint(1 if is_first else 0, KILLS)
        while not self._stop.is_set() and self._pending(names):
            self._work(names, kills > 0)
            kills -= 1
        self.counted["rounds"] += 1

    def _make_versions(self, names: tuple[str, ...], *, surely: bool) -> None:
        """Each class gets a pending version, another key or plaintext now and then; random ones a new key.

        surely: random ones turn, and the class that always moves goes to plaintext, in the next round back.
        """
        in_clear = {
            key.class_name
            for key in self._site.read_keys()
            if key.is_plaintext and key.state is KeyState.ACTIVE
        }
        leaving = {
            name
            for name in names
            if self._to_clear
            and name not in in_clear
            and ((surely and name == self._always) or self._chance.random() < 0.6)
        }
        for chosen in (leaving, set(names) - leaving):
            if chosen:
                # a class with contexts moves to no other key: its own turns at once, and wraps theirs
                turned = {
                    name: chosen is leaving or name not in self._keyed or name in in_clear
                    for name in sorted(chosen)
                }
                rotate(
                    self._site.keyring,
                    self._site.open_kek(),
                    turned,
                    datetime.now(UTC),
                    to_plaintext=chosen is leaving,
                )
        turning = dict.fromkeys(self._random_classes, False)
        if turning and (surely or self._chance.random() < 0.8):
            # their old keys go on opening what is not re-encrypted yet
            rotate(self._site.keyring, self._site.open_kek(), turning, datetime.now(UTC))
            self.counted["keys of random classes"] += len(turning)
        self.counted["classes to plaintext"] += len(leaving)
        self.counted["classes from plaintext"] += len(in_clear & set(names))
        self.counted["with contexts to plaintext"] += len(leaving & self._keyed)
        self.counted["with contexts from plaintext"] += len(in_clear & set(names) & self._keyed)

    def _work(self, names: tuple[str, ...], is_killed: bool) -> None:
        """One process: to its end, or until it is killed, or the campaign is over."""
        process = PROCESSES.Process(target=work, args=(self._site, names, self._chance.randrange(1 << 30)))
        process.start()
        # the first one has not ended by then, however quick the machine is
        most_s = 4 if self.counted["kills"] else 1
        until = time.monotonic() + (0.3 + most_s * self._chance.random() if is_killed else 1e9)
        while process.is_alive() and time.monotonic() < until and not self._stop.is_set():
            process.join(0.05)
        if process.is_alive():
            process.kill()
            process.join()
            self.counted["kills"] += 1
        elif process.exitcode:
            self.counted["jobs that were refused"] += 1
            self._stop.wait(1)
        process.close()

    def _pending(self, names: tuple[str, ...]) -> bool:
        states = {(key.class_name, key.state) for key in self._site.read_keys()}
        return any((name, KeyState.PENDING) in states for name in names)


def _keyed(seed: int) -> frozenset[str]:
    """Classes that have a key for each database: about half of those that can, one of which moves."""
    chance = random.Random(f"contexts {seed}")
    drawn = {name for name in MAY_HAVE_CONTEXTS if chance.random() < 0.5}
    return frozenset((*drawn, chance.choice(DETERMINISTIC[:2])))


def _with_ballast(rules: str, keyed: frozenset[str]) -> str:
    said: dict[str, Any] = yaml.safe_load(rules)
    said["classes"] = {
        name: _with_contexts(about) if name in keyed else dict(about)
        for name, about in (CLASSES | said["classes"]).items()
    }
    said.setdefault("collections", {})[f"{_BALLAST}.values"] = {name: name for name in DETERMINISTIC}
    return yaml.safe_dump(said, sort_keys=False)


def _with_contexts(about: Mapping[str, Any]) -> dict[str, Any]:
    """A class with a key for each database, about which nothing is asked while it may be in clear."""
    return {**about, "key": {"per": "$database"}}


def _fill(client: MongoClient[Document]) -> None:
    documents = [{name: value} for name, values in _BALLAST_VALUES.items() for value in values]
    client[_BALLAST]["values"].insert_many(documents)
