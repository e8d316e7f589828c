"""Kubernetes: connection, watch cache, server-side apply, Lease. May import: engine and what is below it."""
