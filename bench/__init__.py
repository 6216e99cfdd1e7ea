"""What Sealwire costs, and against what: `python -m bench`; docs/benchmarks.md explains method and limits.

`load_generator` drives routes (`routes`, `peers`) to servers (`canned_server`, or a real one); each part
(`part_core`, `part_canned`, `part_real`, `part_memory`) measures its routes in turns and adds samples to
`figures.Results`, from which `targets` computes what has to be reached and `report` and `plots` show all.

Absolute times are those of one machine; only ratios travel.
"""
