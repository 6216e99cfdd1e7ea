"""The asyncio shell around the session core: sockets, TLS, clocks, signals, metrics, the audit sink.

The walk: `listener.Listener` accepts and shakes hands, `connection.Connection` opens the server connection
(`upstream.Upstream`), feeds bytes from both protocols to its session and carries out the effects in order;
`app.Proxy` starts all of it in an order that leaves nothing half-started, and drains it. Before it stand
`config_reader` and `start.load`, which read and check everything without a socket; `reload.Reload` does that
again while the proxy runs. With several workers a `supervisor.Supervisor` does what `supervision.Supervision`
decides, and each `worker` runs a `Proxy`.

May not import: cryptography, hvac. Only `app`, `worker` and `supervisor` make a loop of uvloop; only
`tasks.spawn` starts tasks.
"""
