"""Kubernetes: connection, watch cache, server-side apply, Lease. May import: controller and what is below it."""
