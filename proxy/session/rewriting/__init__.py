"""Where a command is written again: with envelopes in place of values, or without refused statements.

Owns: `rewrite.apply_plan`, the only place that puts envelopes into a message, and `left_out.leave_out`, which
makes the shorter command.

May not import: proxy.session.sides, proxy.session.conversation, proxy.session.login or
proxy.session.revealing.
"""
