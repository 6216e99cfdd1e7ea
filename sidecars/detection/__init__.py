"""Watching the audit log: rules that raise alerts, who is told of them, and incidents with their 72 hours.

Owns: the rules and their file (`rules`), what a line means for them and when it counts (`observations`), what
is counted in which time (`judging`), the alerts (`alerts`), telling of them (`delivery`), the loop, and the
log from its beginning (`watcher`), incidents and their clock (`incidents`), and what is collected about one
(`collecting`, `breach_form`). All of it is stored in one SQLite file (`state_file`).

Walk: `watcher` reads lines, `observations` says what each counts for, `judging` counts and raises alerts, and
keeps them with the place in the log in one transaction; `delivery` tells of them.

May not import: proxy, policies, wire, another sidecar.
Sources: UK GDPR articles 33 and 34, Standard Webhooks.
"""
