"""Moves stored values from one form to another while the application runs: a job, in small steps.

Walk: `planning` finds what the policy covers and what stands in the way; `moves.Move` is one path of one
collection. `engine.Engine` is the loop of every kind of job: it takes a step, writes it down, and gives way
to the application. The steps of `engine.Runner` are batches of documents by ranges of `_id`; `forms`
chooses the new form of each covered value, `server.patch_of` makes the compare-and-set update, and `server`
sends it. `contexts` finds the keys of contexts, and what has to stay so that a value still belongs to its
own. `job.Job` is how far it has come, `ledger.Ledger` keeps that on the server, `inspection` counts what is
stored. Of the rooms it uses policies, keys, crypto and wire.

Theory. Random classes move here, deterministic ones in `windows`. A reply is opened by its envelope and a
value in clear passes, so documents in both forms of a random class answer alike. An update names the exact
old values and is done only where they still stand. What lost that race is read again: the application's value
is of the newest form already. So every step may be repeated, and a job that died at any point goes on from
its last note.

May not import: proxy, asyncio. No value is in what it returns, notes or raises.
"""
