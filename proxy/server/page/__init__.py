"""The page for people on the admin address: what a proxy knows of itself, for those who may see it.

Owns: `door` (what becomes of a request, without a socket), `access` (who is let in), `facts` (what the policy
and the keyring say, as one text between processes), `readings` (figures and how they change), and `sections`,
which says all of it in words, tables and bars. The templates lie here too.

May not import: cryptography, hvac, proxy.server.connections, proxy.server.workers.
"""
