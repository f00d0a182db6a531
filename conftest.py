"""What all tests share: programs compiled fast and forgotten in time, folders for doctests that write files."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

import pytest

_MOST_MAPPINGS = 20_000  # of memory: a program holds some fifteen, and Linux grants a process 65,530

# XLA compiles twice as fast, for tests compile much and run little
flags = "--xla_backend_optimization_level=1"
if version("jaxlib").startswith("0.10."):  # later ones end at a flag that they no longer know
    flags += " --xla_cpu_use_fusion_emitters=false"
    flags += " --xla_cpu_parallel_codegen_split_count=1"  # a core's own program in one part, of a third fewer mappings
os.environ.setdefault("XLA_FLAGS", flags)

# many tests leave gigabytes of traced programs, and to search them for cycles all the time took a sixth of it
gc.set_threshold(50_000, 20, 50)

worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker and hasattr(os, "sched_setaffinity"):
    # a core each, for XLA's threads would stand in each other's way: a fifth less time
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and len(mappings.read_bytes().splitlines()) > _MOST_MAPPINGS:
        import jax  # not before its flags are set

        jax.clear_caches()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(request, tmp_path, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def _caches_of_their_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # for the processes that tests start, many of which compile the same; this one has read it already
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp().parent / "programs"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
        yield
