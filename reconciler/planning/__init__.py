"""WHAT should change: declared objects, expansion, diff, plan. Pure: no clock, no I/O, no threads."""
