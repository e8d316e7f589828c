"""Bytes on one edge: fetched with resume, verified, unpacked, kept by their sha256. Enter at `store.Store`.

The modules that run in the unpacking process (`unpacker`, `tree`, `names`, `extract_tar`, `extract_zip`, `receipt`,
`lanes`) import the standard library, `errors` and each other only: that process starts without site-packages.
"""
