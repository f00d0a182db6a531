import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [[], ["demo"], ["estimate"], ["compare"], ["trajectory"], ["report"], ["zoo"]])
def test_help_teaches_by_example_and_loads_no_jax(command):
    script = (
        "import sys; sys.argv = ['llcoef', *sys.argv[1:], '--help']\n"
        "from llc.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert not {'jax', 'matplotlib', 'numpyro'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    assert f"llcoef {command[0] if command else 'demo'}" in ran.stdout


def test_the_module_is_the_command():
    ran = subprocess.run([sys.executable, "-m", "llc", "--help"], capture_output=True, text=True, check=True)
    assert "estimate" in ran.stdout
