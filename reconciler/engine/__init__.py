"""WHEN things run: the loop, the work queue, stages as values, questions to the world. No Git, Fleet, Lease or edge."""
