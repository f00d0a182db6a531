"""Where chains had not met, the first half of their draws becomes warm-up: nothing is lost, and nothing drawn anew."""

import jax
import numpy as np
import pytest
import xarray as xr

from llc.draws.draw import advance, collect, start_chains
from llc.samplers import SGLD, ReplicaExchange

# (kernel, whether weights are kept), one program each
CASES = {
    "weights": (SGLD(step_size=[1e-3, 5e-4]), True),
    "temperatures": (ReplicaExchange(num_replicas=4, num_leapfrogs=3), False),
}


@pytest.fixture(scope="module", params=CASES)
def begin(request, posterior):
    """Chains after so many draws of warm-up, and how to go on with them."""
    kernel, keep_weights = CASES[request.param]

    def make(num_warmup):
        chains = start_chains(kernel, posterior, 0, num_chains=2, num_warmup=num_warmup)
        return advance(chains, num_warmup, warmup=True)

    return make, lambda chains, num_draws: advance(chains, num_draws, keep_weights=keep_weights)


def assert_same(later, *parts):
    """A group is those parts of another, one after the other."""
    together = xr.concat([part.to_dataset() for part in parts], "draw").drop_vars("draw")
    # of as many draws as there are, weights are rounded as a program of that size does
    xr.testing.assert_allclose(later.to_dataset().drop_vars("draw"), together, rtol=1e-6, atol=1e-7)


def test_the_later_half_is_kept_and_the_earlier_is_warmup(begin):
    begin, go_on = begin
    chains = go_on(begin(4), 7)
    whole, later = collect(chains, {}), collect(chains.later_half(), {})
    early, late = slice(3), slice(3, None)  # of an odd number the later half is the larger
    assert (later.attrs["num_draws"], later.attrs["num_warmup"]) == (4, 7)
    assert set(later.children) == set(whole.children)
    for name in set(whole.children) - {"warmup_sample_stats"}:
        assert_same(later[name], whole[name].isel(draw=late))
    assert_same(later.warmup_sample_stats, whole.warmup_sample_stats, whole.sample_stats.isel(draw=early))


def test_chains_go_on_from_where_they_were(begin):
    begin, go_on = begin
    plain, halved = go_on(go_on(begin(4), 6), 5), go_on(go_on(begin(4), 6).later_half(), 5)
    for leaf, reference in zip(jax.tree.leaves(halved.draws), jax.tree.leaves(plain.draws), strict=True):
        np.testing.assert_array_equal(leaf, reference[:, :, 3:])
    twice = halved.later_half()
    assert (twice.num_draws, twice.warmup.loss_difference.shape[2]) == (4, 11)
    np.testing.assert_array_equal(twice.warmup.loss_difference[:, :, 4:], plain.draws.loss_difference[:, :, :7])


def test_without_a_warmup_it_is_the_first_half(begin):
    begin, go_on = begin
    chains = go_on(begin(0), 4)
    assert chains.warmup is None
    assert_same(
        collect(chains.later_half(), {}).warmup_sample_stats, collect(chains, {}).sample_stats.isel(draw=slice(2))
    )
