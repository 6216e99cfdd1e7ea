"""The taint test: commands whose covered constants are markers, and no marker in what leaves for the server.

The walk: `world` has the policy, the views and what a place in a command may name; `values` makes markers
of every BSON type, numbers in every encoding, and documents with doubled names; `drawer` draws from a seed
and keeps which rows of the support matrix were drawn. `references` and `expressions`, `filters`, `updates`,
`stages` and `commands` put markers where they are compared with a covered path, stored there, or bound to a
variable that is, and nowhere else: so a marker that leaves is a finding. `commands.TRAPS` makes what has to
be refused for another reason than a marker. `outcome` asks the planner and carries out its
plan, and lets a command say whose its values are, for a policy with contexts. `campaign` runs many, and makes
a finding small. In `owners` and `owned_commands` each value says by itself in which context
it has to be; whoever opens what leaves sees whether it is.

`python -m tests.policies.taint --help` attacks the planner by hand.
"""
