"""The asyncio shell around the session core: sockets, TLS, clocks, signals, metrics, the audit sink.

The walk: `listener.Listener` accepts and shakes hands, `connection.Connection` opens the server connection
(`upstream.Upstream`), feeds bytes from both protocols to its session and carries out the effects in order;
`app.Proxy` starts all of it in an order that leaves nothing half-started, and drains it.

May not import: cryptography, hvac. uvloop is installed in `app` only; only `tasks.spawn` starts tasks.
"""
