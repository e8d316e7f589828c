"""WHAT happened: events, their bytes and hash chain, and the folds over them. Pure: no clock, no I/O, no threads."""
