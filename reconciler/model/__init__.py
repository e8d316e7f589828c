"""WHAT can be declared: one file a kind, one table of kinds, the CRDs made from them. This file imports nothing."""
