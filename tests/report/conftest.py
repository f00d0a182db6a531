import re
import shutil
import subprocess
from html.parser import HTMLParser

import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

import llc

mpl.use("Agg")
SETTINGS = {"num_draws": 200, "num_warmup": 50, "progress": False}


def loss(params, batch):
    return 0.5 * jnp.square(params["w"] - batch).sum(axis=1)


@pytest.fixture(scope="session")
def problem():
    examples = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    examples -= examples.mean(axis=0)
    return llc.Problem(loss, examples[:500], test_data=examples[500:])


@pytest.fixture(scope="session")
def run_folder(problem, tmp_path_factory):
    """The folder of a run of nine steps, which comes from afar to the minimum."""
    folder = tmp_path_factory.mktemp("run")
    checkpoints = [(step, {"w": jnp.full(2, 4.0 / (1 + step))}) for step in (0, 1, 2, 5, 10, 20, 50, 100, 1000)]
    llc.trajectory(problem, checkpoints, store=folder, kernel=llc.samplers.SGLD(0.01), localization=1.0, **SETTINGS)
    return folder


@pytest.fixture(scope="session")
def run(run_folder):
    return llc.Trajectory.read(run_folder)


@pytest.fixture(scope="session")
def estimate(problem):
    """On a ladder of step sizes, which has the largest pictures."""
    kernel = llc.samplers.SGLD([0.02, 0.01, 0.005])
    return llc.estimate(problem, {"w": jnp.zeros(2)}, kernel=kernel, **SETTINGS)


@pytest.fixture(scope="session")
def comparison(problem):
    inputs = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    apply = lambda params, inputs: inputs @ params["w"]
    half = inputs[:100], inputs[:100].sum(axis=1)
    supervised = llc.Problem.supervised(apply, llc.Gaussian(1.0), *half, test=(inputs[100:], inputs[100:].sum(axis=1)))
    settings = {"kernel": llc.samplers.SGLD(0.02), "integrate": False, "localization_factors": (0.5, 2.0)}
    return llc.compare(supervised, {"w": jnp.ones(2)}, **settings, progress=False)


class Page(HTMLParser):
    """What a test asks of a page: its elements as (tag, attributes), the text of each, and whether all tags match."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"{self.open} are not closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in self.VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_endtag(self, tag):
        opened, _ = self.open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"

    def handle_data(self, data):
        for _, place in self.open:
            self.texts[place] += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def texts_of(self, tag):
        return [text for (name, _), text in zip(self.elements, self.texts, strict=True) if name == tag]


@pytest.fixture(scope="session")
def parsed():
    return lambda path: Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def browse(tmp_path_factory):
    """Open a page in a browser: the document as it is then, and what the console said.

    With a probe, a script, the page is a copy without its own rule against foreign scripts.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(names)} is installed")

    def opened(path, probe=""):
        folder = tmp_path_factory.mktemp("browser")
        if probe:
            html = path.read_text(encoding="utf-8")
            copied = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
            assert copied != html
            path = folder / "copy.html"
            path.write_text(copied.replace("</body>", f"<script>{probe}</script></body>"), encoding="utf-8")
        switches = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        switches += "disable-component-update disable-sync enable-logging=stderr virtual-time-budget=3000 dump-dom"
        command = [browser, "--headless", *(f"--{switch}" for switch in switches.split())]
        command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1100,3000", path.absolute().as_uri()]
        ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout, [line for line in ran.stderr.splitlines() if "CONSOLE" in line]

    return opened
