"""Checkpoints while a network trains, at steps worth a look."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, SupportsIndex

from jaxtyping import PyTree

from llc.checkpoints.write import save

_SPACINGS = ("log", "linear")


class Recorder:
    """Saves the params of a training loop at log-spaced steps, or every so many.

    Whether a step is saved depends on nothing but the step: a run that was stopped and goes on saves the same ones.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     recorder = Recorder(folder, per_decade=3)
    ...     saved = [step for step in range(101) if recorder.maybe_save(step, {"w": np.zeros(2)})]
    >>> saved
    [0, 1, 2, 5, 10, 22, 46, 100]

    Args:
        folder: where checkpoints go, as `step_00000100.npz`; it is made if need be.
        spacing: "log" saves step 0 and `per_decade` steps of each power of ten, "linear" every `every` steps.
        per_decade: of log spacing.
        every: of linear spacing.
        suffix: ".npz" or ".safetensors".

    Raises:
        ValueError: one of these is something else.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        spacing: str = "log",
        *,
        per_decade: int = 10,
        every: int = 100,
        suffix: str = ".npz",
    ) -> None:
        if spacing not in _SPACINGS:
            msg = f"spacing={spacing!r}; it must be one of {', '.join(_SPACINGS)}."
            raise ValueError(msg)
        for name, value in (("per_decade", per_decade), ("every", every)):
            if value < 1:
                msg = f"{name}={value}; it must be at least 1."
                raise ValueError(msg)
        if suffix not in (".npz", ".safetensors"):
            msg = f"suffix={suffix!r}; it must be .npz or .safetensors."
            raise ValueError(msg)
        self.folder = Path(folder)
        self.spacing = spacing
        self.per_decade = per_decade
        self.every = every
        self.suffix = suffix

    def due(self, step: SupportsIndex) -> bool:
        """Whether this step is one to save."""
        step = int(step)
        if self.spacing == "linear":
            return step % self.every == 0
        # the place of a step on the grid 10^(k / per_decade), whose points are rounded
        decade = max(len(str(step)) - 1, 0)
        exponents = range((decade - 1) * self.per_decade, (decade + 1) * self.per_decade + 1)
        return step == 0 or step in {round(10 ** (k / self.per_decade)) for k in exponents}

    def maybe_save(
        self, step: SupportsIndex, params: PyTree, *, metadata: Mapping[str, Any] | None = None
    ) -> Path | None:
        """Save the params where the step is due, whole or not at all; the path, or None.

        Args:
            step: of training, an integer.
            params: a pytree of arrays.
            metadata: what JSON can hold, such as the loss.

        Raises:
            ValueError: as `llc.checkpoints.save`.
        """
        if not self.due(step):
            return None
        return save(self.folder / f"step_{int(step):08d}{self.suffix}", params, step=int(step), metadata=metadata)
