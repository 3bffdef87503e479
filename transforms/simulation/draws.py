"""Chance without a generator: uniforms that are hashes of the seed, a purpose and a key.

Spark's own `rand` depends on partitioning; a hash does not, and two feeds that ask for the same purpose and key
get the same answer, which is how a return knows its order without a join.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from transforms.simulation.plan import SimulationPlan

_SLOTS = 200


def number(plan: SimulationPlan, purpose: str, *keys: Column) -> Column:
    """A 64-bit hash of the seed, the purpose and the keys."""
    digest = hashlib.sha256(f"{plan.seed}:{purpose}".encode()).digest()
    return F.xxhash64(F.lit(int.from_bytes(digest[:8], "big", signed=True)), *keys)


def draw(plan: SimulationPlan, purpose: str, *keys: Column) -> Column:
    """A uniform double in [0, 1)."""
    return F.shiftrightunsigned(number(plan, purpose, *keys), 11) / F.lit(float(2**53))


def chance(plan: SimulationPlan, share: float | Column, purpose: str, *keys: Column) -> Column:
    """True for `share` of the keys."""
    return draw(plan, purpose, *keys) < share


def hex_id(plan: SimulationPlan, purpose: str, *keys: Column) -> Column:
    """Sixteen hexadecimal characters, different for different keys."""
    return F.lower(F.lpad(F.hex(number(plan, purpose, *keys)), 16, "0"))


def normal(plan: SimulationPlan, purpose: str, *keys: Column) -> Column:
    """A standard normal number (Box-Muller), rounded so that a last bit never decides anything."""
    radius = F.sqrt(-2 * F.log(1 - draw(plan, f"{purpose}/radius", *keys)))
    angle = draw(plan, f"{purpose}/angle", *keys) * (2 * math.pi)
    return F.round(radius * F.cos(angle), 6)


def whole(mean: float | Column, uniform: Column) -> Column:
    """An integer whose expected value is `mean`: its floor, or one more as the uniform decides."""
    return F.floor(F.lit(mean) + uniform).cast("int")


def pick(values: Sequence[str], uniform: Column) -> Column:
    """One of `values`, each as likely."""
    return F.element_at(_constant(values), F.floor(uniform * len(values)).cast("int") + 1)


def pick_weighted(weights: Mapping[str, float], uniform: Column) -> Column:
    """One of the keys of `weights`, as likely as its weight (in steps of 1/200 of the whole)."""
    total = sum(weights.values())
    counts = [max(1, round(weight / total * _SLOTS)) for weight in weights.values()]
    slots = "".join(chr(ord("A") + place) * slot_count for place, slot_count in enumerate(counts))
    letter = F.substring(F.lit(slots), F.floor(uniform * len(slots)).cast("int") + 1, F.lit(1))
    return looked_up(list(weights), F.ascii(letter) - ord("A"))


def looked_up(values: Sequence[str], place: Column) -> Column:
    """The element of `values` at `place`, counted from 0."""
    return F.element_at(_constant(values), place.cast("int") + 1)


def steps(times: Mapping[str, tuple[Column | int, int]]) -> Column:
    """An array of `step:number`, each step as often as it says, at most its maximum; explode and `split_step` it."""
    parts = [
        F.slice(_constant([f"{step}:{n}" for n in range(1, most + 1)]), 1, F.least(F.lit(count), F.lit(most)))
        for step, (count, most) in times.items()
    ]
    return F.concat(*parts)


def _constant(values: Sequence[str]) -> Column:
    """A constant array; one split literal is folded once, hundreds of literals each cost a call to the JVM."""
    return F.split(F.lit("\u001f".join(values)), "\u001f")
