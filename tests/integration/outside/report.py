"""What held on the server: a row for each part, as a table for people or as JSON for programs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.integration.outside.server import Server

_HEAD = ("part", "counted", "held", "refused", "differed", "not applicable")
_WIDTHS = (16, 20, 8, 9, 10, 16)
_LAST_LINES = 40
"""How much of a difference the table shows; the JSON has all of it."""


@dataclass(slots=True)
class Row:
    """One part. `counted` says of what the figures are: commands, or tests."""

    part: str
    counted: str
    held: int = 0
    """Commands with the same answer both ways, or the same error; tests that passed."""
    refused: Counter[str] = field(default_factory=Counter)
    """Commands that Sealwire refused, by reason: nothing to compare."""
    differences: list[tuple[str, str]] = field(default_factory=list)
    """What differed, and how."""
    not_applicable: Counter[str] = field(default_factory=Counter)
    """What this server, this user or this machine cannot do, by reason."""

    @property
    def figures(self) -> tuple[int, int, int, int]:
        """Held, refused, differed, not applicable."""
        return self.held, self.refused.total(), len(self.differences), self.not_applicable.total()

    def to_json(self) -> dict[str, object]:
        """The row for programs."""
        return {
            **{"part": self.part, "counted": self.counted, "held": self.held, "refused": dict(self.refused)},
            "differed": [{"what": what, "how": how} for what, how in self.differences],
            "not_applicable": dict(self.not_applicable),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `left` are databases of the run that could not be dropped."""

    server: Server
    prefix: str
    seed: int
    rows: Sequence[Row]
    left: Sequence[str] = ()

    @property
    def differed(self) -> bool:
        """Whether anything did."""
        return any(row.differences for row in self.rows)

    def to_json(self) -> dict[str, object]:
        """Everything, for programs; no address and no user."""
        server = self.server
        return {
            "server": {
                **{"version": server.version, "replica_set": server.replica_set},
                **{"members": len(server.members), "logins": bool(server.login)},
                "tls": server.tls.get("mode") != "plaintext",
            },
            **{"prefix": self.prefix, "seed": self.seed, "differed": self.differed},
            **{"parts": [row.to_json() for row in self.rows], "left": list(self.left)},
        }

    def lines(self) -> list[str]:
        """The table, then what differed, why commands were refused, and what did not apply."""
        rows = [(row.part, row.counted, *map(str, row.figures)) for row in self.rows]
        lines = [self._server(), "", *(_aligned(cells) for cells in (_HEAD, *rows)), ""]
        for row in self.rows:
            lines += [f"differed: {what}\n{_end_of(how)}\n" for what, how in row.differences]
        lines += _reasons("refused", [row.refused for row in self.rows])
        lines += _reasons("not applicable", [row.not_applicable for row in self.rows])
        lines += [f"could not be dropped: {name}" for name in self.left]
        return [*lines, "Something differed." if self.differed else "Nothing differed."]

    def _server(self) -> str:
        server = self.server
        kind = f"a replica set of {len(server.members)}" if server.replica_set else "standalone"
        login = "with a login" if server.login else "without a login"
        tls = "without TLS" if server.tls.get("mode") == "plaintext" else "with TLS"
        return f"server of version {server.version}, {kind}, {login}, {tls}; seed {self.seed}"


def _aligned(cells: Sequence[str]) -> str:
    first, second, *figures = zip(cells, _WIDTHS, strict=True)
    left = "".join(f"{cell:<{width}}" for cell, width in (first, second))
    return left + "".join(f"{cell:>{width}}" for cell, width in figures)


def _reasons(title: str, counters: Sequence[Counter[str]]) -> list[str]:
    total = sum(counters, Counter[str]())
    return [f"{title}: {count:>6}  {reason}" for reason, count in total.most_common()]


def _end_of(text: str) -> str:
    return "\n".join(text.splitlines()[-_LAST_LINES:])
