"""Reduced rank regression y = B A x + noise (Aoyagi & Watanabe 2005), at any of its optima."""

from collections.abc import Sequence
from fractions import Fraction

import jax

from llc.zoo.deep_linear import ProductError, linear_network, partial_identity, zero_product_quadrature
from llc.zoo.entry import HalfSquare, ZooEntry, build, refuse, regression


def reduced_rank_coefficient(inputs: int, outputs: int, hidden: int, rank: int = 0) -> tuple[Fraction, int]:
    """λ and m of K = ½|BA − B_0A_0|², A of H × M and B of N × H, at the most singular optimum for a truth of rank r.

    1. N + r ≤ M + H, M + r ≤ N + H, H + r ≤ M + N: λ = (2(H + r)(M + N) − (M − N)² − (H + r)²)/8, m = 1 if
       M + N + H + r is even; an eighth more and m = 2 if it is odd.
    2. N + r > M + H: λ = (HM − Hr + Nr)/2.  3. M + r > N + H: λ = (HN − Hr + Mr)/2.  4. H + r > M + N: λ = MN/2.

    >>> reduced_rank_coefficient(5, 5, 3)
    (Fraction(13, 2), 2)

    Args:
        inputs: M.
        outputs: N.
        hidden: H.
        rank: r of B_0A_0.

    Raises:
        ValueError: a width is not positive, or the rank exceeds one.
    """
    M, N, H, r = inputs, outputs, hidden, rank
    refuse(not 0 <= r <= min(M, N, H) or min(M, N, H) < 1, f"rank={r} must be between 0 and min{(M, N, H)}, all ≥ 1.")
    if N + r > M + H:
        return Fraction(H * M - H * r + N * r, 2), 1
    if M + r > N + H:
        return Fraction(H * N - H * r + M * r, 2), 1
    if H + r > M + N:
        return Fraction(M * N, 2), 1
    odd = (M + N + H + r) % 2
    return Fraction(2 * (H + r) * (M + N) - (M - N) ** 2 - (H + r) ** 2 + odd, 8), 1 + odd


def reduced_rank_local_coefficient(
    inputs: int, outputs: int, hidden: int, rank: int, ranks: Sequence[int]
) -> tuple[Fraction, int]:
    """λ and m at an optimum (A_0, B_0) with rank A_0 = r_A, rank B_0 = r_B and rank B_0A_0 = r.

    λ = (MN − (M − r_A)(N − r_B))/2 + λ_global(M − r_A, N − r_B, H − r_A − r_B + r; 0): the invertible blocks are
    eliminated, and reduced rank regression of rank 0 remains. It is the global value at r_A = r_B = r, and no less
    elsewhere.

    >>> reduced_rank_local_coefficient(10, 10, 10, 0, (10, 0))  # the global value is 75/2
    (Fraction(50, 1), 1)

    Args:
        inputs: M.
        outputs: N.
        hidden: H.
        rank: r.
        ranks: (r_A, r_B).

    Raises:
        ValueError: no matrices of these shapes have these ranks.
    """
    rank_a, rank_b = ranks
    left, right, spare = inputs - rank_a, outputs - rank_b, hidden - rank_a - rank_b + rank
    refuse(
        not 0 <= rank <= min(rank_a, rank_b) or min(left, right, spare) < 0,
        f"ranks={(rank_a, rank_b)} with rank={rank} do not exist for {inputs} inputs, {outputs} outputs and {hidden} "
        "hidden units; they need rank ≤ r_A ≤ inputs, rank ≤ r_B ≤ outputs and r_A + r_B − rank ≤ hidden.",
    )
    settled = Fraction(inputs * outputs - left * right, 2)
    if min(left, right, spare) == 0:
        return settled, 1
    rest, multiplicity = reduced_rank_coefficient(left, right, spare)
    return settled + rest, multiplicity


def reduced_rank(
    inputs: int = 3,
    outputs: int = 3,
    hidden: int = 2,
    rank: int = 0,
    *,
    ranks: Sequence[int] | None = None,
    n: int = 10_000,
    simulate: bool = False,
    rng_key: int = 0,
) -> ZooEntry:
    """K = ½|BA − B_0A_0|² at params [A_0, B_0]; simulated, y = B A x + noise with x ~ N(0, I).

    >>> reduced_rank(3, 3, 2), reduced_rank(3, 3, 3, ranks=(3, 0))
    (ZooEntry(reduced_rank(3, 3, 2): d=12, λ=5/2, m=1), ZooEntry(reduced_rank(3, 3, 3, ranks=(3, 0)): d=18, λ=9/2, m=1))

    Args:
        inputs: M.
        outputs: N.
        hidden: H.
        rank: r of B_0A_0, the truth.
        ranks: (r_A, r_B) of the point; (r, r), the most singular, unless said.
        n: number of examples.
        simulate: draw data from the truth, rather than give every example the population loss K.
        rng_key: seed of the data.

    Raises:
        ValueError: no matrices of these shapes have these ranks.
    """
    rank_a, rank_b = ranks or (rank, rank)
    coefficient = reduced_rank_local_coefficient(inputs, outputs, hidden, rank, (rank_a, rank_b))
    # The first r hidden units are shared; A_0 alone uses the next r_A − r, and B_0 alone the last r_B − r, of its own.
    extra = rank_a - rank
    first = partial_identity(hidden, inputs, range(rank_a))
    second = partial_identity(outputs, hidden, range(rank))
    second[range(rank, rank_b), range(rank + extra, rank_b + extra)] = 1
    params = [first, second]
    words = f", rank={rank}" * (rank > 0) + f", ranks={(rank_a, rank_b)}" * (ranks is not None)
    return build(
        f"reduced_rank({inputs}, {outputs}, {hidden}{words})",
        params,
        coefficient,
        "Aoyagi & Watanabe 2005"
        if rank_a == rank_b == rank
        else "Aoyagi & Watanabe 2005, invertible blocks eliminated",
        excess=HalfSquare(ProductError(rank)),
        sample=regression(linear_network, params, lambda key, n: jax.random.normal(key, (n, inputs))),
        quadrature=zero_product_quadrature((inputs, hidden, outputs)) if rank_a == rank_b == 0 else None,
        n=n,
        simulate=simulate,
        rng_key=rng_key,
    )
