"""A TCP relay between the proxy and the server that records what passes and can cut the line."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Forwards every connection to one upstream; one thread a direction."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.to_server = bytearray()
        """Everything that was sent towards the server, all connections together."""
        self.connections: list[bytearray] = []
        """The same by connection, in the order in which they were opened."""
        self.to_client = bytearray()
        self.cut_after_bytes: int | None = None
        """Reset every connection once that many more bytes went to the server."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """`host:port` to connect to instead of the server."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        """Stop listening and reset every connection."""
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every connection; new ones are accepted as before."""
        with self._lock:
            sockets, self._open = self._open, []
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._upstream)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            sent = bytearray()
            self.connections.append(sent)
            for source, sink, records in (
                (client, server, (self.to_server, sent)),
                (server, client, (self.to_client,)),
            ):
                arguments = (source, sink, records)
                threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, records: tuple[bytearray, ...]) -> None:
        try:
            while data := source.recv(65536):
                if records[0] is self.to_server and self.cut_after_bytes is not None:
                    if len(data) >= self.cut_after_bytes:
                        sink.sendall(data[: self.cut_after_bytes])
                        _append(records, data[: self.cut_after_bytes])
                        self.cut_after_bytes = None
                        self.cut()
                        return
                    self.cut_after_bytes -= len(data)
                _append(records, data)
                sink.sendall(data)
        except OSError:
            return
        finally:
            for sock in (source, sink):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


def _append(records: tuple[bytearray, ...], data: bytes) -> None:
    for record in records:
        record.extend(data)


@contextmanager
def relay(upstream: str) -> Iterator[Relay]:
    """A relay to `host:port`, closed at the end of the block."""
    host, _, port = upstream.rpartition(":")
    running = Relay((host, int(port)))
    try:
        yield running
    finally:
        running.close()
