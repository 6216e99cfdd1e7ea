"""The asyncio shell around the session core: sockets, TLS, clocks, signals, metrics, the audit sink.

The walk: `connections.entrances.Listener` accepts and shakes hands, `connections.connection.Connection`
opens the server connection (`upstream.Upstream`), feeds bytes from both `transports` to its session and
carries out the effects in order; `workers.app.Proxy` starts all of it in an order that leaves nothing
half-started, and drains it. Before it stand `config.reader.load_config` and `workers.start.load`, which
read and check everything without a socket; `workers.reload.Reload` does that again while the proxy runs.
With several workers a `supervisor.supervisor.Supervisor` does what `supervisor.roster.Roster` decides,
and each runs a `Proxy`; one process for all of them is an `audit_writer.main.AuditWriter`.
A `frontiers.feed.FrontierFeed` beside the sessions follows classes that move.

May not import: cryptography, hvac. Only `workers` makes a loop of uvloop; only `tasks.spawn` starts tasks.
"""
