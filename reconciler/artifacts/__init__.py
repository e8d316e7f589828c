"""Bytes on one edge: fetched with resume, verified, unpacked, kept by their sha256. Enter at `store.Store`.

The modules that run in the unpacking process (`unpacker` and what it imports) take the standard library, `errors` and
each other only: that process starts without site-packages.
"""
