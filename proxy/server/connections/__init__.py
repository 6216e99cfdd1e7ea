"""One client's connection and the server connection that belongs to it, as asyncio protocols.

Owns: accepting and handshakes (`listener`), the two transports and the session between them (`connection`),
and how long each may stay awake.

May not import: proxy.server.workers, cryptography, hvac.
"""
