"""One client's connection and the server connection that belongs to it, as asyncio protocols.

Owns: accepting and handshakes (`entrances`); the two transports and the session between them: where they are
on their way, and what becomes of bytes and effects (`carrying`), what the transports and the proxy say
(`connection`); what all connections share (`services`), and how long each may stay awake.

May not import: proxy.server.workers, cryptography, hvac.
"""
