"""Folders in, numbers out: every method is scored alike.

`folders`, `looks` and `scene` read what is given; `fidelity`, `memorisation`, `correctness` and `study` measure it and
give `sections`; `terminal`, `report` and `output` show these; `api` puts it together.
"""
