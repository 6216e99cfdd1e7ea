"""Runs one target under atheris (libFuzzer): python -m tests.fuzz TARGET [--seconds 600] [--seed 7].

What it learns is kept in build/fuzz/TARGET/, and what breaks a target is written there as crash-..., to be
added to tests/fuzz/crashers/TARGET.hex with the fix. The core's
bytecode is instrumented; a compiled core has none.
"""

import argparse
import sys

import atheris

from sealwire import core_is_compiled
from tests.build_context import ROOT

CORE = ["sealwire.wire", "sealwire.policies", "sealwire.proxy.session", "sealwire.crypto"]
INPUT_S = 20
"""So long one input may take on a busy machine."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target.")
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    arguments = parser.parse_args()
    if core_is_compiled():
        parser.error("the compiled core cannot be instrumented: run this with the plain one")
    with atheris.instrument_imports(include=CORE):
        from tests.fuzz.seeds import kept, mutated_script
        from tests.fuzz.targets import TARGETS
    if arguments.target not in TARGETS:
        parser.error(f"no such target; there are {', '.join(TARGETS)}")
    found = ROOT / "build" / "fuzz" / arguments.target
    learnt = found / "corpus"
    learnt.mkdir(parents=True, exist_ok=True)
    given = found / "given"
    given.mkdir(exist_ok=True)
    for number, data in enumerate(kept(arguments.target)):
        (given / str(number)).write_bytes(data)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-seed={arguments.seed}",
        f"-timeout={INPUT_S}",
        f"-artifact_prefix={found}/",
        "-max_len=8192",
        "-print_final_stats=1",
        str(learnt),
        str(given),
    ]
    changes = {}
    if arguments.target == "session":

        def change(data: bytes, most_bytes: int, seed: int) -> bytes:
            return data[:1] + mutated_script(data[1:], most_bytes - 1, seed, atheris.Mutate)

        changes["custom_mutator"] = change
    atheris.Setup([sys.argv[0], *options], TARGETS[arguments.target], **changes)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
