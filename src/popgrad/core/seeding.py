"""Random streams of a run, each derived from (run seed, purpose, member, interval).

The derivation is one 64-bit hash: the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast
splittable pseudorandom number generators") applied after each part is added. It works on arrays, so
a draw for 100,000 members costs one pass; a generator object is built only for a member that draws
more.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Index = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment, 2^64 / golden ratio
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_WORD = 2**64 - 1
_ROUNDS = ((30, int(_FACTORS[0])), (27, int(_FACTORS[1])), (31, 1))
"""Shift and factor of each round of `_mix`, as Python integers."""


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    x = (x ^ (x >> _SHIFTS[0])) * _FACTORS[0]
    x = (x ^ (x >> _SHIFTS[1])) * _FACTORS[1]
    return x ^ (x >> _SHIFTS[2])


@lru_cache(maxsize=1024)
def _purpose(purpose: str) -> np.uint64:
    return np.uint64(
        int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little")
    )


def _hash(seed: int, purpose: str, members: Index, intervals: Index) -> npt.NDArray[np.uint64]:
    x = np.full(np.broadcast(members, intervals).shape, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    # The arithmetic is modulo 2^64 on purpose.
    with np.errstate(over="ignore"):
        for part in (_purpose(purpose), members.astype(np.uint64), intervals.astype(np.uint64)):
            x = _mix(x + _GOLDEN + part)
    return x


def derive(seed: int, purpose: str, member: int = 0, interval: int = 0) -> int:
    """Derive one seed in [0, 2**63), which fits SQLite's integers and every generator.

    Args:
        seed: Seed of the run, any integer; taken modulo 2**64.
        purpose: Purpose of the stream, e.g. "train".
        member: Slot in the population.
        interval: Interval, epoch or another count of the streams of this purpose.

    Example:
        >>> derive(0, "train", member=3, interval=1)
        2553469239856093629
        >>> derive(0, "train", member=3, interval=2)
        3880297063269720066
    """
    # `_hash` for one stream, in Python's integers: ten times as fast as an array of one.
    x = seed & _WORD
    for part in (int(_purpose(purpose)), int(member), int(interval)):
        x = (x + int(_GOLDEN) + part) & _WORD
        for shift, factor in _ROUNDS:
            x = ((x ^ (x >> shift)) * factor) & _WORD
    return x >> 1


@dataclass(frozen=True)
class Rng:
    """Random streams of a run. They have no position: the same request gives the same draw again.

    Attributes:
        seed: Seed of the run.

    Example:
        >>> rng = Rng(seed=0)
        >>> members, intervals = np.array([0, 1, 2]), np.array([1, 1, 1])
        >>> rng.integers("donor", members, intervals, high=100)
        array([14,  8, 40])
        >>> int(rng.generator("explore", member=2, interval=1).integers(100))
        4
    """

    seed: int

    def uniform(self, purpose: str, members: Index, intervals: Index) -> Floats:
        """Draw [R] floats in [0, 1), one per (member, interval), without building a generator."""
        bits = _hash(self.seed, purpose, members, intervals) >> np.uint64(11)
        return bits.astype(np.float64) * 2.0**-53

    def integers(self, purpose: str, members: Index, intervals: Index, high: int) -> Index:
        """Draw [R] integers in [0, high), one per (member, interval); `high` is far below 2**53."""
        return (self.uniform(purpose, members, intervals) * high).astype(np.int64)

    def generator(self, purpose: str, member: int, interval: int) -> np.random.Generator:
        """Return a NumPy generator for a member that draws more than one number."""
        return np.random.Generator(np.random.PCG64(derive(self.seed, purpose, member, interval)))
