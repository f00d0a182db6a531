"""Several processes that draw together: they must have been asked the same, and take the same decisions."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import PyTree

from llc import fingerprint
from llc.posterior.devices import mesh_of
from llc.problem import Problem

_ROOM = 8192  # bytes in which a process says what it was asked
_ASIDE = {"problem", "params", "posterior", "mesh", "progress"}  # that are compared by their contents, or not at all
_LONGEST = 60  # characters that a setting is told in; of a longer one its hash


def check_agreement(mesh: Mesh | None, problem: Problem, params: PyTree, settings: dict[str, Any]) -> None:
    """Refuse to begin where processes that draw together were asked different things, instead of hanging later.

    Nothing else may fail before, on one process alone: the others would wait for it.

    Args:
        mesh: the devices; nothing is compared where they belong to one process.
        problem: whose data and n are compared.
        params: the weights.
        settings: the arguments of a call, by their names; all but the data, the weights, the devices and the bar.

    Raises:
        ValueError: on every process, naming what differs with the value of each.
    """
    if _num_processes(mesh_of(mesh, params)) == 1:
        return
    asked = {name: value for name, value in settings.items() if name not in _ASIDE}
    asked = {"n": problem.n, **asked, "weights": params, "data": problem.data}
    told = json.dumps({name: _told(value) for name, value in asked.items()}).encode().ljust(_ROOM)
    gathered = multihost_utils.process_allgather(np.frombuffer(told, np.uint8))
    heard = [json.loads(bytes(np.asarray(row, np.uint8))) for row in gathered]
    differing = [name for name in heard[0] if any(other.get(name) != heard[0][name] for other in heard)]
    if differing:
        each = "; ".join(
            f"{name} is " + ", ".join(f"{other.get(name)} on process {number}" for number, other in enumerate(heard))
            for name in differing
        )
        msg = f"the processes disagree: {each}. Give every process the same."
        raise ValueError(msg)


def agreed(mesh: Mesh | None, number: int) -> int:
    """A number that a clock has suggested: the first process's."""
    if _num_processes(mesh) == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.asarray(number)))


def leads(mesh: Mesh | None) -> bool:
    """Whether this process is the one that shows and saves: the first of those that draw together."""
    return _num_processes(mesh) == 1 or jax.process_index() == 0


def about(mesh: Mesh | None) -> dict[str, str | int]:
    """What the record of draws says of several devices."""
    if mesh is None:
        return {}
    return {"mesh": json.dumps(dict(mesh.shape)), "processes": _num_processes(mesh)}


def _num_processes(mesh: Mesh | None) -> int:
    return 1 if mesh is None else len({device.process_index for device in mesh.devices.flat})


def _told(value: Any) -> str:
    """A setting in a few words: itself, or the hash of its numbers."""
    leaves, tree = jax.tree.flatten(value)
    if not any(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves):
        text = repr(value)
        return text if len(text) <= _LONGEST else _hashed(text)
    return _hashed(str(tree), fingerprint.of_arrays(list(map(_own_numbers, leaves))))


def _own_numbers(leaf: Any) -> np.ndarray:
    """The numbers that this process alone answers for: what is spread over processes has only its shape."""
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    spread = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    return np.asarray(leaf.shape if spread else leaf)


def _hashed(*parts: str) -> str:
    return f"hash {fingerprint.combined(*parts)[:8]}"
