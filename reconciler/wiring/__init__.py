"""The composition root: which adapter stands behind each port. Only here is that chosen, one file a thing that runs.

Imports nothing by itself, so that whoever only looks at a log (`past`) does not wait for what hubs and agents need.
"""
