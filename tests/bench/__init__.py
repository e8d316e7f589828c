"""Benchmarks: each module `bench_*` has `figures(small: bool) -> Iterator[Figure]`; `python -m tests.bench` runs them.

A benchmark is not a test: it fails on counts, never on seconds. `small` is the size at which CI proves that it works.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its peer or limit from the same run.

    better: `higher` (rates) or `lower` (times, bytes).  against: what `reference` is, e.g. "peer: pyeventsourcing".
    factor: the figure meets its target when value is at least (higher) or at most (lower) factor * reference.
    """

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    against: str
    reference: float
    factor: float = 1.0

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        goal = self.factor * self.reference
        return self.value >= goal if self.better == "higher" else self.value <= goal
