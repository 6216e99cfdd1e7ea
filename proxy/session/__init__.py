"""The sans-I/O core: one client connection and the one server connection that belongs to it.

Bytes, ends of stream, keys and the clock go in; effects come out (`effects.Effect`), and the shell carries
them out in order. Nothing here opens a socket, reads a clock or knows an event loop.

The walk: `session.Session.client_data` -> `wire.framing` -> `sides.client_side` ->
`policies.commands.planner.plan_command` -> `rewriting.apply_plan` -> ToServer; and back:
`session.Session.server_data` -> `sides.server_side` -> `revealing.reveal.reveal` -> ToClient. What both sides
share is the `conversation`, and what may happen when is in the one table of `states`; `compression` inflates
what either peer has compressed, and compresses for it. A login is judged in `login`, write errors are mended
in `write_errors`, and `auditing` says what goes on record of a command and its reply.

May not import: proxy.server, asyncio, socket, ssl, time, logging, cryptography.
"""
