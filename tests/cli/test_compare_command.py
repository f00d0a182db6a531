import json

import numpy as np
import pytest

from llc import checkpoints


def test_two_checkpoints_in_tables_a_file_and_a_picture(workplace, llcoef):
    checkpoints.save(workplace / "step_000200.npz", {"w": np.full(2, 0.1, np.float32)}, step=200)
    both = ("step_000100.npz", "step_000200.npz")
    flags = ("--localization", "1", "--no-integrate", "--max-gradient-evaluations", "2e7")
    status, out, _ = llcoef("compare", "problem.py", *both, *flags, "--out", "all.json", "--plot", "both.png")
    assert status == 0
    assert out.startswith("2 models\nstep_000100.npz: λ̂ ")
    for text in ("complexity", "free energy", "generalization", "BIC d/2", "WAIC", "needs the", "places, 1 the best"):
        assert text in out
    result = json.loads((workplace / "all.json").read_text())
    assert list(result["models"]) == list(both)
    assert result["models"]["step_000100.npz"]["estimate"]["dimension"] == 2
    assert result["ranking"]["free energy: BIC"]["step_000100.npz"] == 1.0
    assert (workplace / "both.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.py", "step_000100.npz"), ["missing.py", "is no file"]),
        (("problem.py", "step_000100.npz", "nothing.npz"), ["nothing.npz"]),
        (("problem.py", "step_000100.npz", "--plot", "chains.txt"), ["--plot chains.txt", ".png"]),
    ],
)
def test_what_the_user_can_mend_is_one_line(workplace, llcoef, arguments, words):
    status, out, err = llcoef("compare", *arguments)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
