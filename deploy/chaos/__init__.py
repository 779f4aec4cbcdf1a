"""Faults: breaks something of a cluster on purpose and mends it again.

`inject` is the way in, for `argosy chaos` and for `cluster.chaos` in tests. What is injected is written down before
it is done (`journal`), in the cluster's run folder, so that whoever comes later can heal it: the command itself, a
process that waits for the fault's end (`healer`), `argosy chaos heal`, `argosy down`. One kind of fault is one file
of `kinds/`. Where faults act on shared things (rules on links, a process's clock), what is to be is made from all
faults in force, so that each mends only its own.
"""
