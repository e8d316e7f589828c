"""Questions to a model that nobody has written down: sizes and values by which it answers. May import: golden, loaded.

In: a loaded model.  Out: inputs that it takes, and its answers. Bounded, and the same on every machine: dimensions of
one name get one size; sizes are tried from 1 upwards, among them those that the model's weights have; the values are
numbers between 0 and 1, integers 1 and 0, and a short text. What is right nobody knows; that it stays so can be asked.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from reconciler.errors import ProbeFailed
from reconciler.serving.golden import Arrays, Case
from reconciler.serving.loaded import Loaded
from reconciler.serving.tensors import DATATYPES, NAMES, Array, Signature, TensorRefused, finite

SMALL: Final = (1, 2, 3, 4, 8)
LARGE: Final = (16, 32, 64, 128, 224, 256, 512)
RANKS: Final = (2, 1, 3, 4)  # of inputs that say nothing of their shape
MOST_TRIES: Final = 500
MOST_CHOICES: Final = 2000  # of sizes, also of those that make an input too large
MOST_VALUES: Final = 1 << 22  # of one input
MOST_OWN: Final = 12  # sizes that its weights have
LARGEST_OWN: Final = 16_384
ROUNDING: Final = 1e-5  # of a float32 result, in parts of it, from one processor to another
TEXT: Final = "text"
HOW: Final = "give a question that it answers: --example FILE (.npz, .npy or .json; docs/golden.md)"


class Found(NamedTuple):
    """A question that is answered. tries: how many were asked until then."""

    inputs: Arrays
    tries: int


class Dimension(NamedTuple):
    """A free dimension: the model's name for it, or where it is. is_first: of its input; a batch, mostly."""

    name: str
    is_first: bool


@dataclass(frozen=True)
class Layout:
    """The inputs that are asked, their free dimensions told apart."""

    inputs: tuple[Signature, ...]
    names: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, loaded: Loaded, rank: int) -> "Layout":
        """rank: of the inputs that say nothing of their shape."""
        needed = [each for each in loaded.inputs if not each.optional]
        inputs = tuple(msgspec.structs.replace(each, shape=[-1] * rank) if each.unranked else each for each in needed)
        symbols = loaded.symbols()
        names = {}
        for each in inputs:
            said = symbols.get(each.name, [])
            own = said if len(said) == len(each.shape) else [""] * len(each.shape)
            names[each.name] = tuple(name or f"{each.name}/{axis}" for axis, name in enumerate(own))
        return cls(inputs, names)

    def free(self) -> list[Dimension]:
        """Each free dimension once, in the order of the inputs."""
        found: dict[str, Dimension] = {}
        for each in self.inputs:
            free = [name for name, size in zip(self.names[each.name], each.shape, strict=True) if size < 0]
            for at, name in enumerate(free):
                known = found.get(name)
                found[name] = Dimension(name, at == 0 or (known is not None and known.is_first))
        return list(found.values())

    def arrays(self, sizes: dict[str, int]) -> Arrays | None:
        """The question in these sizes; None where one input would be too large."""
        shapes = {
            each.name: [
                sizes[name] if size < 0 else size for name, size in zip(self.names[each.name], each.shape, strict=True)
            ]
            for each in self.inputs
        }
        if any(math.prod(shape) > MOST_VALUES for shape in shapes.values()):
            return None
        return {each.name: values(each, shapes[each.name]) for each in self.inputs}


def values(signature: Signature, shape: Sequence[int]) -> Array:
    """Values of this type and shape: the same ones always, not zeros alone, and none that is large."""
    dtype = DATATYPES[signature.datatype]
    count = np.arange(math.prod(shape))
    if dtype.kind == "O":
        made: Any = np.full(count.shape, TEXT, dtype=dtype)
    elif dtype.kind == "f":
        made = ((count * 37 % 101 + 1) / 102).astype(dtype)
    else:
        made = (1 - count % 2).astype(dtype)
    found: Array = made.reshape(shape)
    return found


def find(loaded: Loaded, tell: Callable[[str], None]) -> Found:
    """The first question that is answered with numbers. Raises ProbeFailed where none is, with what the model said."""
    tries, sizes = 0, sizes_of(loaded.sizes)
    said = f"every input that it takes has more than {MOST_VALUES:,} values"
    ranks = RANKS if any(each.unranked and not each.optional for each in loaded.inputs) else RANKS[:1]
    for rank in ranks:
        layout = Layout.of(loaded, rank)
        for choice in itertools.islice(assignments(layout.free(), sizes), MOST_CHOICES):
            asked = layout.arrays(choice)
            if asked is None:
                continue
            if tries >= MOST_TRIES:
                break
            tries += 1
            tell(f"asking {shown(asked)}")
            try:
                outputs = loaded.infer(asked)
            except TensorRefused as error:
                said = str(error)
                continue
            if all(map(finite, outputs.values())):
                return Found(asked, tries)
            said = f"{shown(asked)} is answered with NaN or infinity"
    raise ProbeFailed(
        f"no question was found that the model answers ({tries} tried, sizes 1 to {max(sizes)}): {said}",
        hint=HOW,
    )


def shown(inputs: Arrays) -> str:
    """`x FP32[1, 4], n INT64[]`."""
    return ", ".join(
        f"{name} {NAMES.get(array.dtype, array.dtype)}{list(array.shape)}" for name, array in inputs.items()
    )


def far_reaching(probes: Sequence[Case]) -> Iterator[str]:
    """What is to be said of answers so large that another processor may round them otherwise than is allowed."""
    for case in probes:
        for name, array in case.outputs.items():
            largest = float(np.abs(array).max()) if array.dtype.kind == "f" and array.size else 0.0
            if largest * ROUNDING > case.tolerance:
                yield (
                    f"output {name} has numbers up to {largest:.3g}, which another processor may give otherwise by "
                    f"more than {case.tolerance:g}: --tolerance {largest * ROUNDING:.1g} allows for it"
                )


def sizes_of(weights: Iterable[int]) -> tuple[int, ...]:
    """The sizes to try, in order: small ones, those that the model's weights have, larger ones."""
    own = [size for size in sorted(set(weights)) if 1 <= size <= LARGEST_OWN and size not in (*SMALL, *LARGE)]
    return (*SMALL, *own[:MOST_OWN], *LARGE)


def assignments(free: Sequence[Dimension], sizes: Sequence[int]) -> Iterator[dict[str, int]]:
    """Sizes for the free dimensions, each choice once: small ones and equal ones first. It may be very long."""
    tried: set[tuple[int, ...]] = set()
    for choice in itertools.chain(_likely(free, sizes), _by_axis(free, sizes), _small_first(sizes, len(free))):
        if choice not in tried:
            tried.add(choice)
            yield {each.name: size for each, size in zip(free, choice, strict=True)}


def _likely(free: Sequence[Dimension], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """A batch of one and one size for the rest; then one size for all."""
    for size in sizes:
        yield tuple(1 if each.is_first else size for each in free)
    for size in sizes:
        yield (size,) * len(free)


def _by_axis(free: Sequence[Dimension], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """A batch of one, one size for what comes behind it, such as channels, and one for all further ones."""
    second = _behind_first(free)
    for one, other in _small_first(sizes, 2):
        yield tuple(1 if each.is_first else one if n in second else other for n, each in enumerate(free))


def _behind_first(free: Sequence[Dimension]) -> set[int]:
    """The places right behind a first one."""
    return {n for n in range(1, len(free)) if free[n - 1].is_first and not free[n].is_first}


def _small_first(sizes: Sequence[int], count: int) -> Iterator[tuple[int, ...]]:
    """Every choice of `count` sizes, those from the beginning of `sizes` first."""
    for total in range((len(sizes) - 1) * count + 1):
        for places in _summing(total, count, len(sizes) - 1):
            yield tuple(sizes[place] for place in places)


def _summing(total: int, count: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every `count` numbers of 0 to `most` that add up to `total`."""
    if count == 0:
        if total == 0:
            yield ()
        return
    for one in range(min(total, most) + 1):
        for rest in _summing(total - one, count - 1, most):
            yield (one, *rest)
