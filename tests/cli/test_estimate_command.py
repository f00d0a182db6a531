import json
import os

import numpy as np
import pytest

from llc import checkpoints
from llc.draws.storage import load

FAST = ("--kernel", "sgld", "--step-size", "5e-3", "--num-warmup", "20", "--num-draws", "50", "--quiet")


def test_one_line_and_a_table(workplace, llcoef):
    status, out, _ = llcoef(
        *("estimate", "problem.py", "step_000100.npz", "--localization", "1", "--max-gradient-evaluations", "3e8")
    )
    assert status == 0
    assert out.startswith("λ̂ = ")
    for row in ("95 % interval", "d/2", "virial / d", "verdict: converged", "nβ, n"):
        assert row in out


def test_json_holds_everything(workplace, llcoef):
    status, out, err = llcoef("estimate", "problem.py", "step_000100.npz", *FAST, "--json", "--seed", "3")
    result = json.loads(out)
    assert (status, err) == (0, "")
    assert (result["step"], result["dimension"], result["settings"]["rng_key"]) == (100, 2, "3")
    assert result["interval"][0] < result["llc"] < result["interval"][1]


@pytest.mark.parametrize("name", ["draws.nc", "draws.zarr"])
def test_draws_are_saved_whole_and_nothing_beside_them(workplace, llcoef, name):
    status, _, _ = llcoef("estimate", "problem.py", "step_000100.npz", *FAST, "--out", name)
    assert status == 0
    assert load(name).sample_stats.sizes["draw"] == 50
    assert not [path for path in workplace.iterdir() if path.name.startswith(".tmp")]


def test_a_picture_is_saved(workplace, llcoef):
    status, _, _ = llcoef("estimate", "problem.py", "step_000100.npz", *FAST, "--plot", "chains.png")
    assert status == 0
    assert (workplace / "chains.png").read_bytes().startswith(b"\x89PNG")


def test_strict_fails_on_any_other_verdict(workplace, llcoef):
    one_chain = (*FAST, "--num-chains", "1")
    assert llcoef("estimate", "problem.py", "step_000100.npz", *one_chain)[0] == 0
    status, out, _ = llcoef("estimate", "problem.py", "step_000100.npz", *one_chain, "--strict")
    assert status == 1
    assert "one chain" in out


def test_a_function_named_problem_will_do(workplace, llcoef):
    text = (workplace / "problem.py").read_text()
    (workplace / "problem.py").write_text(text.replace("problem = llc", "def problem(): return llc"))
    assert llcoef("estimate", "problem.py", "step_000100.npz", *FAST)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.py", "step_000100.npz"), ["missing.py", "is no file"]),
        (("empty.py", "step_000100.npz"), ["empty.py", "must define `problem`"]),
        (("broken.py", "step_000100.npz"), ["broken.py", "ZeroDivisionError"]),
        (("problem.py", "missing.npz"), ["missing.npz"]),
        (("problem.py", "other.npz"), ["other.npz", "KeyError", "'w'"]),
        (("problem.py", "integers.npz"), ["integers.npz"]),
        (("problem.py", "nan.npz"), ["nan.npz"]),
        (("problem.py", "step_000100.npz", "--batch-size", "501"), ["batch_size=501 exceeds n=500"]),
        (("problem.py", "step_000100.npz", "--kernel", "hamilton"), ["hamilton", "auto, sgld"]),
        (("problem.py", "step_000100.npz", "--kernel", "mala"), ["mala needs --step-size"]),
        (("problem.py", "step_000100.npz", "--gradient", "svrg"), ["svrg", "control_variate"]),
        (("problem.py", "step_000100.npz", "--out", "draws.txt"), ["draws.txt", ".nc or .zarr"]),
        (("problem.py", "step_000100.npz", "--out", "nowhere/draws.nc"), ["nowhere", "does not exist"]),
        (("problem.py", "step_000100.npz", "--plot", "chains.doc"), ["chains.doc", ".png"]),
    ],
)
def test_bad_input_is_one_line_and_status_two(workplace, llcoef, arguments, words):
    (workplace / "empty.py").write_text("")
    (workplace / "broken.py").write_text("1 / 0")
    checkpoints.save("other.npz", {"v": np.zeros(2, np.float32)})
    np.savez("integers.npz", w=np.zeros(2, np.int32))
    np.savez("nan.npz", w=np.full(2, np.nan, np.float32))
    status, out, err = llcoef("estimate", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("llcoef: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_run_that_is_killed_leaves_the_old_file_as_it_was(workplace, llcoef, monkeypatch):
    llcoef("estimate", "problem.py", "step_000100.npz", *FAST, "--out", "draws.nc")
    before = (workplace / "draws.nc").read_bytes()

    def killed(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", killed)
    status, _, err = llcoef("estimate", "problem.py", "step_000100.npz", *FAST, "--seed", "9", "--out", "draws.nc")
    assert status == 2
    assert "no space left" in err
    assert (workplace / "draws.nc").read_bytes() == before


def test_compiled_programs_are_kept_where_caches_are_unless_the_user_keeps_them_elsewhere(
    workplace, llcoef, monkeypatch
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    llcoef("--version")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(workplace / "cache" / "llc" / "jax")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    llcoef("--version")
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
