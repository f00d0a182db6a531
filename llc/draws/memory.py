"""What sampling holds in memory, known before anything is compiled, and what there is room for.

A program is read as JAX traced it: every array lives from the equation that makes it to the last that reads it, and
what XLA fuses is no array. The compiler's own account comes to 0.7 to 1.9 times as much: on a CPU, XLA makes side by
side what the program has one after the other, such as both gradients of a control variate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Var

from llc.posterior.work import programs

# of the size of their results: JAX's threefry holds two counters and two words of state
_WORKSPACE = {"random_bits": 4, "sort": 1, "cumsum": 1}
# no arrays: XLA computes them where they are read
_VIEWS = frozenset({"reshape", "squeeze", "expand_dims", "broadcast_in_dim", "iota", "stop_gradient", "random_unwrap"})
_ELEMENTWISE = frozenset(
    {
        *("add", "sub", "mul", "div", "neg", "max", "min", "abs", "sign", "pow", "integer_pow", "square", "sqrt"),
        *("rsqrt", "exp", "exp2", "expm1", "log", "log1p", "tanh", "logistic", "erf", "erf_inv", "sin", "cos"),
        *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "xor", "is_finite", "select_n", "clamp"),
        *("shift_left", "shift_right_logical", "bitcast_convert_type", "convert_element_type", "add_any", "copy"),
        *("slice", "pad", "rev", "transpose", "concatenate", "floor", "round", "rem", "nextafter", "real", "imag"),
    }
)
_REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min", "reduce_and", "reduce_or", "argmax", "argmin"})
_UPDATES = frozenset({"scatter", "scatter-add", "dynamic_update_slice"})
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """Bytes that sampling holds at its peak, by part, and those that are free.

    Args:
        parameters: the checkpoint, the gradient at it, and what is held with them; there already.
        data: the examples on the device and their losses at the checkpoint; there already.
        chains: the states of all chains.
        steps: what the steps of all chains that run at once make on the way: weights, intermediates, gradients, noise.
        draws: the draws that one compiled call records.
        available: free on the device; None where that is unknown.
    """

    parameters: int
    data: int
    chains: int
    steps: int
    draws: int
    available: int | None

    @property
    def needed(self) -> int:
        """What has to be found beside what is there."""
        return self.chains + self.steps + self.draws

    @property
    def fits(self) -> bool:
        """Whether there is room for it, as far as that is known."""
        return self.available is None or self.needed <= self.available

    @property
    def total(self) -> int:
        """All of it."""
        return self.parameters + self.data + self.needed

    def __repr__(self) -> str:
        there = f"parameters {in_units(self.parameters)}, data {in_units(self.data)}"
        parts = f"chains {in_units(self.chains)}, steps {in_units(self.steps)}, draws {in_units(self.draws)}"
        free = "unknown" if self.available is None else in_units(self.available)
        return f"Memory({in_units(self.total)}: {there}, {parts}; free: {free})"


class OutOfMemory(MemoryError):
    """Sampling that does not, or did not, fit: what it needs by part, what is free, and what would fit."""


def in_units(size: float | int) -> str:
    """Bytes as text.

    >>> in_units(40_685_608)
    '38.8 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.3g} {unit}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, or this computer, ran out of memory."""
    exhausted = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return exhausted or isinstance(error, MemoryError)


def free_memory(devices: Sequence[Any]) -> int | None:
    """Bytes that are free on devices together; of a CPU what the system can give. None where nothing tells."""
    local = [device for device in devices if device.process_index == jax.process_index()]
    if not local:
        return None
    if local[0].platform == "cpu":
        room = _free_on_host()
    else:
        stats = [device.memory_stats() or {} for device in local]
        known = all("bytes_limit" in s and "bytes_in_use" in s for s in stats)
        room = sum(s["bytes_limit"] - s["bytes_in_use"] for s in stats) if known else None
    return None if room is None else room * len(devices) // len(local)


def _free_on_host() -> int | None:
    """What Linux can give without swapping, and not more than a container may take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:")))
    except (OSError, StopIteration):
        return None
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return max(0, free)


def size_of(tree: Any) -> int:
    """Bytes of the arrays of a pytree."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype") and hasattr(leaf, "shape"))


def peak_bytes(jaxpr: Any, owned: frozenset[int] = frozenset()) -> int:
    """The most that a program holds at once beside its arguments, its results among it.

    What one equation alone reads, element by element, is no array, but its operands live until then. The arguments at
    the positions `owned` are the program's own: they are counted, and freed once they have been read.
    """
    equations = jaxpr.eqns
    readers: dict[Any, list[int]] = {}
    for i, equation in enumerate(equations):
        for v in _variables(equation.invars):
            readers.setdefault(v, []).append(i)
    last = {v: at[-1] for v, at in readers.items()} | dict.fromkeys(_variables(jaxpr.outvars), len(equations))
    seen: dict[Any, Any] = {}  # what a view is a view of
    for equation in equations:
        if equation.primitive.name in _VIEWS and _variables(equation.invars):
            seen[equation.outvars[0]] = seen.get(equation.invars[0], equation.invars[0])
    fused: set[Any] = set()
    for equation in reversed(equations):
        for v in equation.outvars:
            if v not in last or _is_fused(equation, last[v], readers.get(v, []), equations):
                fused.add(v)
                for operand in _variables(equation.invars):
                    last[operand] = max(last[operand], last.get(v, 0))
    held = {v: _bytes(v.aval) for i, v in enumerate(jaxpr.invars) if i in owned}
    peak = sum(held.values())
    for i, equation in enumerate(equations):
        dying = {v for v in held if last.get(v, i) <= i}
        handed = {v: seen.get(v, v) for v in _variables(_handed_over(equation)) if seen.get(v, v) in dying}
        made = {v: _bytes(v.aval) for v in equation.outvars if v not in fused}
        inside = _inside(equation, set(handed), sum(made.values()))
        peak = max(peak, sum(held.values()) - sum(held[v] for v in set(handed.values())) + inside)
        held = {v: size for v, size in (held | made).items() if v not in dying}
    return peak


def _inside(equation: Any, taken: set[Any], made: int) -> int:
    """What one equation holds at once: its results, and what it has taken over."""
    name, parameters, operands = equation.primitive.name, equation.params, equation.invars
    if name == "while":
        body = parameters["body_jaxpr"].jaxpr
        return peak_bytes(body, frozenset(range(parameters["body_nconsts"], len(body.invars))))
    if name == "scan":
        body, results = parameters["jaxpr"].jaxpr, equation.outvars[parameters["num_carry"] :]
        carried = frozenset(range(parameters["num_consts"], len(operands)))
        return peak_bytes(body, carried) + sum(_bytes(v.aval) for v in results)
    sizes = [
        peak_bytes(program, frozenset(i for i, v in enumerate(operands[-len(program.invars) :]) if _is_in(v, taken)))
        for program in programs(equation)
    ]
    return max(sizes) if sizes else made + _WORKSPACE.get(name, 0) * sum(_bytes(v.aval) for v in equation.outvars)


def _handed_over(equation: Any) -> list[Any]:
    """Operands in whose place results can be written."""
    name, parameters, operands = equation.primitive.name, equation.params, equation.invars
    if name == "while":
        return operands[parameters["cond_nconsts"] + parameters["body_nconsts"] :]
    if name == "scan":
        return operands[parameters["num_consts"] :][: parameters["num_carry"]]
    if name in _UPDATES:
        return operands[:1]
    return operands if name in _ELEMENTWISE or programs(equation) else []


def _is_fused(equation: Any, last: int, readers: list[int], equations: list[Any]) -> bool:
    """Whether XLA makes no array of a result."""
    name = equation.primitive.name
    if name in _VIEWS:
        return True
    if name not in _ELEMENTWISE or len(readers) != 1 or last == len(equations):
        return False
    return equations[readers[0]].primitive.name in _ELEMENTWISE | _REDUCTIONS


def _is_in(atom: Any, variables: set[Any]) -> bool:
    return isinstance(atom, Var) and atom in variables


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [v for v in atoms if isinstance(v, Var)]


def _bytes(aval: Any) -> int:
    dtype = getattr(aval, "dtype", None)
    if dtype is None:
        return 0
    key = jnp.issubdtype(dtype, jax.dtypes.prng_key)
    return int(np.prod(aval.shape)) * (8 if key else dtype.itemsize)
