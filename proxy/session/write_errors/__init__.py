"""Where write errors are mended: those that we add, and the texts of those that the server gives.

Owns: `merging.WriteErrors`, the errors of statements that were left out and the server's reply with them in
it; `duplicates`, the text of a duplicate key's error in clear.

May not import: keys, proxy.session.sides, proxy.session.conversation, proxy.session.login,
proxy.session.rewriting or proxy.session.revealing.
"""
