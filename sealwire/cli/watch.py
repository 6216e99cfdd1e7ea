"""`sealwire watch`: follow the audit log, and raise alerts."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import PATH
from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.detection.delivery import LogChannel
from sealwire.sidecars.detection.rules import WatchSettings, load_watch_settings
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.detection.watcher import AuditWatch, channels_of

_EPILOG = """\b
Exit codes (docs/errors.md has all cases):
  0   ended by a signal; with --check: the file can be used; with --once: everybody was told
  1   with --once: somebody could not be told of an alert
  2   wrong usage
  65  the key, the state or the log is damaged
  69  another process watches with the same state, or the state file is busy
  77  a file may not be read or written
  78  the file of the rules cannot be used"""


@click.command(name="watch", epilog=_EPILOG)
@click.argument("config", type=PATH, envvar="SEALWIRE_WATCH_CONFIG")
@click.option("--check", is_flag=True, help="Read CONFIG and what it names, and end.")
@click.option("--once", is_flag=True, help="Read to the end of the log, tell of alerts once, and end.")
@click.option("--learn", is_flag=True, help="Read to the end of the log, tell nobody of its alerts, and end.")
def watch(config: Path, *, check: bool, once: bool, learn: bool) -> None:
    """Follow the audit log that CONFIG names, and raise the alerts of its rules.

    Runs until a signal ends it, and goes on where it stopped: no line is left out or counted twice. The
    chain and the signed checkpoints of the log are verified as it is read. Alerts go to standard output,
    a webhook and a command, as CONFIG says; `sealwire incident` shows them and keeps incidents.

    \b
    Examples:
      sealwire watch /etc/sealwire/alerts.yaml
      sealwire watch alerts.yaml --check
      sealwire watch alerts.yaml --learn
      sealwire watch alerts.yaml --once
    """
    if check + once + learn > 1:
        raise click.UsageError("give one of --check, --once and --learn")
    settings = load_watch_settings(config)
    with writer_lock(settings.state):
        state = StateFile(settings.state)
        try:
            _watch(settings, state, check=check, once=once, learn=learn)
        finally:
            state.close()


def _watch(settings: WatchSettings, state: StateFile, *, check: bool, once: bool, learn: bool) -> None:
    log = LogChannel()
    channels = channels_of(settings, state, log)
    watcher = AuditWatch(settings, state, channels, log.write, is_learning=learn)
    if check:
        click.echo(f"{len(settings.rules)} rules, {len(channels)} channels: can be used")
    elif learn:
        watcher.read()
    elif once:
        sys.exit(0 if watcher.run_once() else EX_NO)
    else:
        with _ended_by_signals() as stop:
            log.write({"event": "watching", "log": str(settings.place.path), "rules": len(settings.rules)})
            watcher.run(stop)


@contextmanager
def _ended_by_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    former = [(each, signal.signal(each, end)) for each in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield stop
    finally:
        for number, handler in former:
            signal.signal(number, handler)
