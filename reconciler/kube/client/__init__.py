"""Asking the API server: credentials, connections, requests, errors, and where objects are."""
