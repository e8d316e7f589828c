"""WHEN things run: the loop, the work queue, and the control socket by which processes of one machine talk."""
