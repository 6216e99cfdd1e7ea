"""The page for people on the admin address: what a proxy knows of itself, for those who may see it.

Owns: `door` (who is let in, what becomes of a request, without a socket), `facts` (what policy and keyring
say, as one text between processes), and the sections: `standing` makes `panels`, of figures and how they
change, which the templates write down.

May not import: cryptography, hvac, proxy.server.connections, proxy.server.workers.
"""
