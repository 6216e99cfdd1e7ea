"""Stands in for mongod: keeps a file of its data open and writes down each start in it."""

import os
import socket
import time
from pathlib import Path

DATA = Path("/var/lib/mongodb")

kept_open = (DATA / "starts").open("a")
kept_open.write(f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}\n")
kept_open.flush()
os.fsync(kept_open.fileno())
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.connect(os.environ["NOTIFY_SOCKET"])
    notify.send(b"READY=1")
while True:
    time.sleep(3600)
