"""Where a reply is opened: its envelopes are found wherever they are, and their values put in their place.

Owns: `reveal.reveal`, for a reply that is in memory as a whole; `long_reply.LongReply`, for one that is
opened part by part; `cursors`, the marks by which a `getMore` says that its replies are opened;
`plaintext.PlaintextWatch`, which counts values in clear where ciphertext belongs.

May not import: proxy.session.sides, proxy.session.conversation, proxy.session.login, proxy.session.rewriting
or proxy.session.write_errors.
"""
