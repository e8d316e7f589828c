"""Seeing what is in the cluster: reflectors, the cache that they fill, and reading without one."""
