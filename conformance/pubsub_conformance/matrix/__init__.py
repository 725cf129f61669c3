"""Every implementation publishes to every other one and to itself, and the outcomes as a table.

`run` judges an implementation against the kit's own other side. Here two implementations meet, in
several processes on one base directory: each check is a short story of publishers and readers.
"""
