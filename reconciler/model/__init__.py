"""WHAT can be declared: one file a kind, one table of kinds, the CRDs generated from them. Imports nothing by itself."""
