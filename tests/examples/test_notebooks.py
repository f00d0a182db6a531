"""Each example is a script and a notebook of the same cells, and runs as either."""

from pathlib import Path

import jupytext
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("script", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_the_notebook_is_the_script(script):
    """After a change of the script: jupytext --update --to ipynb examples/*.py."""
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    assert cells(notebook) == cells(jupytext.read(script))
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert "__file__" not in script.read_text(encoding="utf-8")  # which a notebook does not have


def test_there_is_no_notebook_without_a_script():
    assert {path.stem for path in EXAMPLES.glob("*.ipynb")} == {path.stem for path in SCRIPTS}
