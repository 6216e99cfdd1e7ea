"""Looks at a server's TLS from outside, as a client meets it, and judges it by rules.

Owns: reading targets, the probes, what was seen (facts), the rules and their findings, and the report.

The walk: `target.parse_target` turns what the operator wrote into endpoints and drops every secret in it.
`verify.verify_targets` looks at each endpoint over short connections, one after another: `offers` sends
ClientHellos of its own to learn versions, `suites` and groups; `handshake` makes real connections through
pyOpenSSL, on which `handshake.ask_hello` or `handshake.get` speaks; `certificate` reads the chain and asks
about revocation. The result is `target.TargetFacts`, which `judging.judge` judges by `judging.RULES`;
`report` shows it.

May not import: wire, policies, proxy, asyncio, logging. Of keys it uses the writing of files, of crypto
the names of hosts.
Nothing here holds a password: `target` never keeps one. Specifications: RFC 5246, 8446 (handshake), 5280
(certificates), 6960 (OCSP), 9525 (names), 6797 (HSTS); verdicts after RFC 9325, RFC 8996, NCSC, Mozilla.
"""
