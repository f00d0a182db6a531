"""What all tests share: programs compiled fast, and a folder of its own for each doctest that writes files."""

import os

import pytest

# a quarter less time for tests, which compile much and run little; examples run as users run them
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker and hasattr(os, "sched_setaffinity"):
    # a core each, for XLA's threads would stand in each other's way: a fifth less time
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(request, tmp_path, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True, scope="session")
def _caches_of_their_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
