"""How a proxy follows classes that move: its lease on the server, and the frontiers that it reads under it.

Owns: `feed`, which goes round and knows what is known and until when; `store`, the database that the
documents lie in, and what they say.

May not import: cryptography, hvac, proxy.server.workers, proxy.server.connections.
"""
