"""What Sealwire costs, and against what: `python -m bench`; docs/benchmarks.md explains method and limits.

`routes` holds the ways from a client to a server, with the programs at both ends; each of `parts` measures
its routes in turns and adds samples to `report.figures.Results`, from which `report.goals` computes what
has to be reached, and `report.report` and `report.plots` show all.

Absolute times are those of one machine; only ratios travel.
"""
