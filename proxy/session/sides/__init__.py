"""The two sides of a session: what becomes of a message of the client, and of one of the server.

Owns: `client_side.ClientSide`, which plans, sends on or refuses; `server_side.ServerSide`, which opens
replies, and gives handshakes our addresses; and `questions`, which the client's side asks the server for a
command that waits, and whose answers the server's side reads.

May not import: proxy.session.session.
"""
