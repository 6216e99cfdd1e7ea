"""What is said to a server and what it answers: TLS written by hand, TLS by pyOpenSSL, and what goes inside.

Owns: the bytes that travel (`stream.Stream`); ClientHellos of its own and the answers to them, from which
versions, suites and groups are learnt (`client_hello.client_hello`, `server_answer.AnswerReader`,
`offers.weak_groups`, `offers.accepted_versions`); real handshakes (`handshake.TlsStream`); one request of
MongoDB or HTTP (`mongodb.ask_hello`, `http.get`).

May not import: sidecars.tls_check.facts, sidecars.tls_check.verify, sidecars.tls_check.judging,
sidecars.tls_check.report.
"""
