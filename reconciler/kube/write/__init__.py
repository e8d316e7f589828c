"""Changing what is in the cluster: orders, status, Events, and the Lease that allows it."""
