"""Draws as an xarray DataTree in ArviZ's schema, with every setting in its attrs."""

import dataclasses
import json
import warnings
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import numpy as np
from xarray import DataTree

from llc.draws.observables import Observables
from llc.draws.weights import variable_name
from llc.posterior.devices import to_host
from llc.posterior.local_posterior import LocalPosterior
from llc.problem import named_leaves
from llc.samplers.kernel import Kernel

Attribute = int | float | str

_LONGEST_LIST = 1024  # that the record of a kernel keeps

_DIMS = {
    "virial": ["leaf"],
    "tempered_loss_difference": ["temperature"],
    "tempered_nbeta": ["temperature"],
    "tempered_accept_prob": ["temperature"],
    "tempered_swap_prob": ["exchange"],
}


def to_datatree(
    draws: Observables,
    warmup: Observables | None,
    kernel: Kernel,
    posterior: LocalPosterior,
    settings: dict[str, Any],
) -> DataTree:
    """Label the record of chains, whose leaves have axes (ladder, chain, draw).

    Dimensions are (chain, draw), with `step_size` in front where the kernel's step size is a ladder.
    """
    from arviz_base import from_dict  # takes a while, which sampling need not wait for

    ladder = np.ndim(kernel.step_size) == 1 if kernel.step_size is not None else False
    sample_dims = ["step_size", "chain", "draw"] if ladder else ["chain", "draw"]
    leaves = [name for name, _ in named_leaves(posterior.center)]
    groups: dict[str, Any] = {"sample_stats": _statistics(draws, posterior, ladder)}
    if warmup is not None:
        groups["warmup_sample_stats"] = _statistics(warmup, posterior, ladder)
    if draws.position is not None:
        groups["posterior"] = _weights(np.asarray(draws.position), posterior, ladder)
    attrs = _attributes(draws, warmup, kernel, posterior) | settings
    coords: dict[str, Any] = {"leaf": np.array(leaves, dtype=object)}  # what zarr makes of fixed-length text may change
    if ladder:
        coords["step_size"] = np.asarray(kernel.step_size)
    with warnings.catch_warnings():
        # fewer draws than chains is what an early Ctrl-C leaves
        warnings.filterwarnings("ignore", message="Found chain dimension to be longer than draw dimension")
        tree = from_dict(
            groups, sample_dims=sample_dims, dims=_DIMS, coords=coords, attrs={"/": attrs}, save_warmup=True
        )
    for group in groups:
        # when they were made would make two equal runs differ
        tree[group].attrs.clear()
    return tree


def _statistics(record: Observables, posterior: LocalPosterior, ladder: bool) -> dict[str, np.ndarray]:
    named = record._replace(tempered=None, position=None)._asdict()
    if record.tempered is not None:
        named |= {f"tempered_{name}": values for name, values in record.tempered._asdict().items()}
    fields = {name: np.asarray(values) for name, values in named.items() if values is not None}
    fields["potential"] = (
        float(posterior.nbeta) * fields["full_loss_difference"] + 0.5 * fields["whitened_squared_distance"]
    )
    full = fields["full_loss_difference"]
    unmeasured = np.isnan(full).all(axis=(0, 1))  # of all chains at once: it was not asked for
    finite = np.isfinite(fields["loss_difference"]) & np.isfinite(fields["whitened_squared_distance"])
    finite &= np.isfinite(full) | unmeasured
    fields["diverging"] = ~finite
    return fields if ladder else {name: values[0] for name, values in fields.items()}


def _weights(positions: np.ndarray, posterior: LocalPosterior, ladder: bool) -> dict[str, np.ndarray]:
    over_draws = eqx.filter_jit(eqx.filter_vmap(LocalPosterior.params, in_axes=(None, 0)))
    params = over_draws(posterior, positions.reshape(-1, positions.shape[-1]))
    shaped = lambda leaf: to_host(leaf).reshape(*positions.shape[:-1], *leaf.shape[1:])
    weights = {variable_name(name): shaped(leaf) for name, leaf in named_leaves(params)}
    return weights if ladder else {name: values[0] for name, values in weights.items()}


def _attributes(
    draws: Observables, warmup: Observables | None, kernel: Kernel, posterior: LocalPosterior
) -> dict[str, Attribute]:
    """Every setting, in types that files keep; lists as JSON, since netCDF makes a number of a list of one."""
    hyperparameters = {
        f"kernel_{field.name}": _hyperparameter(getattr(kernel, field.name))
        for field in dataclasses.fields(kernel)  # pyright: ignore[reportArgumentType]
    }
    return {
        "kernel": type(kernel).__name__,
        **hyperparameters,
        "records_full_loss": int(kernel.records_full_loss),
        "virial_late": kernel.virial_late,
        "nbeta": float(posterior.nbeta),
        "localization": _attribute(posterior.localization),
        "dimension": posterior.dimension,
        "leaf_dimensions": _attribute(posterior.sizes),
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(posterior.center)),
        "n": posterior.n,
        "batch_size": posterior.batch_size,
        "center_loss": posterior.center_loss,
        "num_chains": draws.loss_difference.shape[1],
        "num_draws": draws.loss_difference.shape[2],
        "num_warmup": 0 if warmup is None else warmup.loss_difference.shape[2],
        "llc_version": version("llcoef"),
        "jax_version": version("jax"),
        "numpyro_version": version("numpyro"),
        "device": jax.devices()[0].device_kind,
    }


def _hyperparameter(value: Any) -> Attribute:
    if np.size(value) > _LONGEST_LIST:  # a preconditioner of d numbers
        return f"{np.size(value)} numbers from {np.min(value):.4g} to {np.max(value):.4g}"
    return _attribute(value)


def _attribute(value: Any) -> Attribute:
    if isinstance(value, str | int | float):
        return value
    value = "chosen" if value is None else np.asarray(value).tolist()
    return json.dumps(value) if isinstance(value, list) else value


def read_settings(draws: DataTree) -> dict[str, Any]:
    """The settings that draws were made with, lists as lists."""
    plain = {str(name): value.item() if isinstance(value, np.generic) else value for name, value in draws.attrs.items()}
    return {name: json.loads(v) if isinstance(v, str) and v.startswith("[") else v for name, v in plain.items()}
