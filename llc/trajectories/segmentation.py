"""λ̂ and log loss over a run as plateaus and straight passages, with how surely and where one becomes the other."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from ruptures import Pelt
from ruptures.base import BaseCost

_FEWEST = 20  # the log N of fewer checkpoints would let noise through
_NUM_RESAMPLES = 1000
_TAIL = 0.025  # on either side of a 95 % interval
_LOSS_FLOOR = 0.01  # of the range of the loss, where its logarithmic scale ends
_NOISE = 1.05  # σ of normal noise in medians of |difference|: 1 / (√2 · 0.6745)
_UNKNOWN_SCALE = 4.0  # noise is taken to be larger by 4/N, for the median of few differences may be too small
_MOVED = 3.0  # σ between two checkpoints of no plateau
_SAME = 0.7  # cosine of 45°
_LEAST = 1e-30  # instead of 0, of a λ̂ that is 0 throughout
_FLAT = 1e-9
_TINY = np.finfo(float).tiny


class Segment(NamedTuple):
    """Checkpoints start ≤ i < stop, at one level or passing along a line."""

    start: int
    stop: int
    passing: bool = False

    @property
    def points(self) -> slice:
        """Of arrays."""
        return slice(self.start, self.stop)


class Run(NamedTuple):
    """λ̂ and log loss in two columns, their weights 1/σ² (0 where unknown), and the smallest changes that count."""

    signal: Float[np.ndarray, "n 2"]
    weights: Float[np.ndarray, "n 2"]
    smallest: Float[np.ndarray, "n 2"]

    @classmethod
    def of(
        cls,
        llc: Float[np.ndarray, "n"],
        noise: Float[np.ndarray, "n"],
        loss: Float[np.ndarray, "n"],
        smallest: float,
    ) -> "Run":
        """Of λ̂ with the noise of each, and losses.

        σ is the noise and, in quadrature, half of the smallest change that counts, since no plateau is perfectly flat.
        That change is a part of λ̂, at least of its median over the run; and of the loss, or of the range of its log.
        """
        known = np.isfinite(loss)
        seen, log_loss, loss_noise = loss[known], np.zeros(len(llc)), 0.0
        if len(seen):
            # a loss below 0 (a log density's) has no logarithm, and counts from its least
            log_loss[known] = np.log(seen - min(seen.min(), 0.0) + (_LOSS_FLOOR * np.ptp(seen) or 1.0))
        if len(seen) > 1:
            usual = np.median(np.abs(np.diff(log_loss[known])))
            loss_noise = (1 + _UNKNOWN_SCALE / len(seen)) * _NOISE * usual
        level = np.maximum(np.abs(llc), np.median(np.abs(llc)))
        counts = np.stack([level, np.full(len(llc), max(1.0, np.ptp(log_loss)))], axis=1) * smallest
        counts = np.maximum(counts, _LEAST)
        sigma = np.hypot(np.stack([noise, np.full(len(llc), loss_noise)], axis=1), counts / 2)
        weights = np.stack([np.ones(len(llc)), known], axis=1) / sigma**2
        return cls(np.stack([llc, log_loss], axis=1), weights, counts)

    @property
    def charge(self) -> float:
        """What a change costs, (p + 2) log N in units of 2 log likelihood; a passage begins and ends, and costs two."""
        p = int((self.weights > 0).any(axis=0).sum())
        return (p + 2) * float(np.log(max(len(self.signal), _FEWEST)))

    def shares(self, plateau: Segment) -> Float[np.ndarray, "n 2"]:
        """What each checkpoint has in the level of a plateau."""
        shares = np.zeros_like(self.weights)
        weights = self.weights[plateau.points]
        shares[plateau.points] = weights / np.maximum(weights.sum(axis=0), _TINY)
        return shares

    def moved(self, left: Segment, right: Segment) -> Float[np.ndarray, "2"]:
        """The change of both columns between plateaus, in units of the smallest that counts."""
        smallest = np.maximum(self.smallest[left.stop - 1], self.smallest[right.start])
        before, after = self.shares(left), self.shares(right)
        known = before.any(axis=0) & after.any(axis=0)
        return known * ((after - before) * self.signal).sum(axis=0) / smallest

    def fit(self, segment: Segment) -> Float[np.ndarray, "points 2"]:
        """The level or line of a segment."""
        signal, weights = self.signal[segment.points], self.weights[segment.points]
        shares = weights / np.maximum(weights.sum(axis=0), _TINY)
        mean = (shares * signal).sum(axis=0)
        x = np.arange(len(signal))[:, None] * np.ones(2)
        x -= (shares * x).sum(axis=0)
        squares = (shares * x**2).sum(axis=0)
        slope = (shares * x * (signal - mean)).sum(axis=0) / np.where(squares > 0, squares, 1.0)
        return mean + segment.passing * slope * x


def find_segments(run: Run) -> list[Segment]:
    """The segments of least misfit and charges, by PELT, less changes that are too small to count."""
    segments = _together(run, _passing(run, _search(run)))
    while sides := changes_between(segments):
        sizes = [np.abs(run.moved(left, right)).max() for left, right in sides]
        least = int(np.argmin(sizes))
        if sizes[least] >= 1:
            break
        left, right = sides[least]
        within = [s for s in segments if left.start <= s.start and s.stop <= right.stop]
        plateau = Segment(within[0].start, within[-1].stop)
        segments = sorted([*(s for s in segments if s not in within), plateau])
    return segments


def changes_between(segments: list[Segment]) -> list[tuple[Segment, Segment]]:
    """The plateaus on either side of each change; a lone checkpoint at an end of the run, or where passages meet."""
    sides = []
    for before, segment, after in zip([None, *segments], segments, [*segments[1:], None], strict=False):
        start, stop = max(segment.start - 1, 0), segment.stop
        if segment.passing:
            left = Segment(start, start + 1) if before is None or before.passing else before
            sides.append((left, Segment(stop - 1, stop) if after is None or after.passing else after))
        elif before is not None and not before.passing:
            sides.append((before, segment))
    return sides


def found_again(run: Run, left: Segment, right: Segment) -> float:
    """In what part of runs simulated along these plateaus, and the line between them, a jump is worth its charge."""
    parts = [left, Segment(left.stop, right.start, True), right]
    fit = np.concatenate([run.fit(part) for part in parts if part.start < part.stop])
    weights = run.weights[left.start : right.stop]
    noise = np.random.default_rng(0).standard_normal((_NUM_RESAMPLES, *fit.shape))
    gains = _gains(weights * fit + np.sqrt(weights) * noise, weights)
    return float((gains.max(axis=1) > run.charge).mean())


def place_interval(run: Run, left: Segment, right: Segment) -> tuple[int, int]:
    """The checkpoints between which a jump from one plateau to the other lies, with 95 % confidence.

    From the likelihood exp(gain/2) of each place (Cobb 1978); a passage between them lies within it.
    """
    weights = run.weights[left.start : right.stop]
    gains = _gains((weights * run.signal[left.start : right.stop])[None], weights)[0]
    likely = np.cumsum(np.exp((gains - gains.max()) / 2))
    low, high = left.start + np.searchsorted(likely / likely[-1], [_TAIL, 1 - _TAIL])
    if left.stop < right.start:
        low, high = min(low, left.stop - 1), max(high, right.start - 1)
    return int(low), int(high) + 1


def _search(run: Run) -> list[Segment]:
    misfit = _Misfit(run)
    search = Pelt(custom_cost=misfit, min_size=1, jump=1).fit(run.signal)
    stops = search.predict(pen=run.charge + misfit.offset)
    return [Segment(i, j, bool(misfit.line[i, j] < misfit.level[i, j])) for i, j in pairwise([0, *stops])]


def _passing(run: Run, segments: list[Segment]) -> list[Segment]:
    """Between the levels of its neighbours a lone checkpoint is passing, and so are two on the way."""
    found = segments.copy()
    for k, (before, segment, after) in enumerate(zip(segments, segments[1:], segments[2:], strict=False), 1):
        weights, (first, last) = run.weights[segment.start], run.signal[segment.points][[0, -1]]
        level = run.fit(segment)[0]
        arrival, departure, within = level - run.fit(before)[-1], run.fit(after)[0] - level, last - first
        between = arrival @ (weights * departure) > 0
        on_the_way = within @ (weights * departure) > 0 and within @ (weights * within) > _MOVED**2
        length = segment.stop - segment.start
        if between and (length == 1 or (length == 2 and on_the_way)):
            found[k] = segment._replace(passing=True)
    return found


def _together(run: Run, segments: list[Segment]) -> list[Segment]:
    """Passages that follow one another are one: in nearly the same direction, or with one or two checkpoints."""
    found = segments[:1]
    for segment in segments[1:]:
        last = found[-1]
        if last.passing and segment.passing:
            before, after = _rise(run, last), _rise(run, segment)
            alone = min(last.stop - last.start, segment.stop - segment.start) <= 2
            if before @ after > (0 if alone else _SAME) * np.linalg.norm(before) * np.linalg.norm(after):
                found[-1] = last._replace(stop=segment.stop)
                continue
        found.append(segment)
    return found


def _rise(run: Run, passage: Segment) -> Float[np.ndarray, "2"]:
    last = passage.stop - 1
    return run.moved(Segment(max(passage.start - 1, 0), max(passage.start, 1)), Segment(last, last + 1))


class _Misfit(BaseCost):
    """Σ (y − fit)² / σ² of every segment, from its level, or from its line where that is steep enough to be a passage.

    A passage moves by at least the smallest change that counts from one checkpoint to the next, on average.
    """

    min_size = 1

    def __init__(self, run: Run) -> None:
        x = np.arange(len(run.signal))[:, None] - len(run.signal) / 2
        w, y = run.weights, run.signal - run.signal.mean(axis=0)
        moments = (w, w * x, w * y, w * x * x, w * x * y, w * y * y, np.ones_like(w), run.smallest)
        sums = [np.cumsum(np.pad(moment, ((1, 0), (0, 0))), axis=0) for moment in moments]
        one, sx, sy, sxx, sxy, syy, count, smallest = (total[None, :] - total[:, None] for total in sums)
        one = np.where(one > 0, one, 1.0)
        squares, products = sxx - sx**2 / one, sxy - sx * sy / one
        slope = products / np.where(squares > _FLAT * one, squares, np.inf)
        level = syy - sy**2 / one
        self.level = level.sum(axis=-1)
        steep = (np.abs(slope) * count >= smallest).any(axis=-1)
        self.line = np.where(steep, (level - slope * products).sum(axis=-1) + run.charge, np.inf)
        # PELT drops a start whose parts cost more than the whole; less a constant, parts never do
        self.offset = float(self.level[0, -1])

    @property
    def model(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As ruptures names it."""
        return "plateau or passage"

    def fit(self, signal: Float[np.ndarray, "n 2"]) -> None:
        """All is known already; ruptures looks at the length."""
        self.signal = signal

    def error(self, start: int, end: int) -> float:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Of start ≤ i < end."""
        return float(min(self.level[start, end], self.line[start, end]) - self.offset)


def _gains(weighted: Float[np.ndarray, "runs n 2"], weights: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "runs n-1"]:
    """By how much two levels fit better than one, for each place of the jump."""
    total, sums = np.cumsum(weights, axis=0), np.cumsum(weighted, axis=1)
    share = total[:-1] / np.maximum(total[-1], _TINY)
    apart = sums[:, :-1] - share * sums[:, -1:]
    return (apart**2 / np.maximum(total[-1] * share * (1 - share), _TINY)).sum(axis=-1)
