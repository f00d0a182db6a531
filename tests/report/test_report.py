"""The page as a file: whole, alone, escaped, and as short as it can be."""

import dataclasses
import hashlib
import os
import re
from base64 import b64encode
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

import llc
from llc.draws.storage import save
from llc.estimators.calibrate import Calibration, Pilot
from llc.estimators.diagnoses import Verdict
from llc.report import report_of_run, write_report
from llc.report.figures import add_steps, picture
from llc.report.run import steps_with_chains

NASTY = "<script>alert('x')</script> & <img src=x onerror=alert(1)>"


def bands(page):
    """The places of steps in pictures, with what is told there."""
    rects = zip(page.all("rect"), page.texts_of("rect"), strict=True)
    return [(attributes, text) for attributes, text in rects if attributes.get("class") == "step"]


@pytest.fixture(scope="module")
def calibration(estimate):
    sweeps = {name: {x: estimate.mean for x in (0.5, 1.0, 2.0)} for name in ("step_size", "localization", "nbeta")}
    pilots = (Pilot(llc.samplers.SGLD(), estimate, 1e4),)
    return Calibration(llc.samplers.SGLD(), {}, ("it is cheap.",), pilots, sweeps, {"nbeta": (0.5, 2.0)})


@pytest.fixture(scope="module")
def everything(run, estimate, comparison, calibration, tmp_path_factory):
    estimates = {NASTY: estimate, "other": estimate}
    trajectory = dataclasses.replace(run, skipped={NASTY: f"{NASTY} is no checkpoint"})
    several = llc.Comparisons({NASTY: comparison, "other": comparison})
    given = {"trajectory": trajectory, "estimates": estimates, "comparison": several, "calibration": calibration}
    return write_report(tmp_path_factory.mktemp("page") / "report.html", **given, title=NASTY)


def test_the_page_stands_alone(everything, parsed):
    page = parsed(everything)  # which checks that tags match
    html = everything.read_text(encoding="utf-8")
    assert "http://" not in html
    assert "https://" not in html
    assert html.isprintable() or set(html) - {"\n"} <= set(filter(str.isprintable, html))
    sources = [value for _, attributes in page.elements for key, value in attributes.items() if key in {"src", "href"}]
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "url(" not in html.replace("url(#", "")
    assert not page.all("link")
    (script,) = page.texts_of("script")
    hashed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{hashed}'" in page.all("meta")[1]["content"]


def test_what_refers_finds_its_target(everything, parsed):
    page = parsed(everything)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for _, attributes in page.elements if attributes.get("href", "").startswith("#")}
    clips = {a["clip-path"][5:-1] for _, a in page.elements if "clip-path" in a}
    assert links
    assert clips
    assert links | clips <= set(ids)


def test_every_figure_says_what_it_shows(everything, parsed):
    page = parsed(everything)
    pictures = page.all("svg") + page.all("img")
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(pictures) - 1  # steps on two scales
    assert all(picture.get("aria-label") or picture.get("alt") for picture in pictures)
    assert all(len(caption) > 40 for caption in page.texts_of("figcaption"))


def test_text_stays_text(everything, parsed):
    page = parsed(everything)
    assert page.texts_of("h1") == page.texts_of("title")[:1] == [NASTY]
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    assert any(text.startswith(f"Skipped: {NASTY}: {NASTY} is no") for text in page.texts_of("p"))


def test_the_numbers_are_those_of_the_run(run, tmp_path, parsed):
    page = parsed(write_report(tmp_path / "report.html", trajectory=run))
    rows = [
        text for (name, a), text in zip(page.elements, page.texts, strict=True) if name == "tr" and "data-step" in a
    ]
    frame = run.to_dataframe()
    assert len(rows) == len(frame)
    for row, (_, measured) in zip(rows, frame.iterrows(), strict=True):
        shown = re.search(r"(\S+) ± ", row.removeprefix(str(measured["step"])))
        assert shown
        assert float(shown[1]) == pytest.approx(measured["llc"], abs=measured["std_error"] / 10)
        assert f"{measured['loss']:.4g}" in row
        assert all(verdict in row for verdict in measured["verdicts"])
    lead = page.texts_of("p")[0]
    assert "at 9 steps" in lead
    assert "d = 2 free parameters" in lead
    first, last = frame.iloc[0], frame.iloc[-1]
    for value, measured in zip(re.findall(r"λ̂ = (\S+) ± ", lead), (first, last), strict=True):
        assert float(value) == pytest.approx(measured["llc"], abs=measured["std_error"] / 10)
    found = {verdict for verdicts in frame["verdicts"] for verdict in verdicts}
    assert all(Verdict(verdict).advice in "".join(page.texts_of("td")) for verdict in found)
    settings = dict(zip(page.texts_of("th"), page.texts_of("td"), strict=False))
    assert {"kernel", "nbeta", "num_draws", "jax_version"} <= set(settings)
    told = {a["data-step"]: text for a, text in bands(page)}
    assert {int(step) for step in told} == set(run.steps)
    assert all(text.startswith(f"step {step}: λ̂ = ") for step, text in told.items())


def test_bands_of_steps_tile_the_picture(run, tmp_path, parsed):
    page = parsed(write_report(tmp_path / "report.html", trajectory=run))
    for rects in np.array_split(np.array([(float(a["x"]), float(a["width"])) for a, _ in bands(page)]), 2):
        np.testing.assert_allclose(rects[:-1].sum(axis=1), rects[1:, 0], atol=0.15)  # written to a tenth of a point
        assert (rects[:, 1] >= 0).all()
        assert rects[:, 1].sum() > 300


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_band_of_a_step_lies_over_its_point(scale):
    steps = [1, 3, 10, 40, 1000]
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    axes.set(xscale=scale, ylabel="something")
    axes.plot(steps, steps, "o", gid="points")
    axes.twinx().set_ylabel("something else")
    svg = picture(figure, "run", "points")
    add_steps(svg, figure, {step: f"step {step}" for step in steps})
    points = svg.find(".//g[@id='run-points']")
    drawn = [float(use.get("x")) for use in points.iter("use")]
    assert len(drawn) == len(steps)
    for x, rect in zip(drawn, svg.findall("rect"), strict=True):
        assert float(rect.get("x")) - 0.1 <= x <= float(rect.get("x")) + float(rect.get("width")) + 0.1
        assert float(rect.get("width")) > 0.3


def test_the_same_results_give_the_same_page(run, tmp_path):
    short = dataclasses.replace(run, rows=run.rows[:2])
    pages = [write_report(tmp_path / f"{i}.html", trajectory=short) for i in range(2)]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_thirty_long_runs_stay_below_three_megabytes(run, estimate, tmp_path, monkeypatch):
    losses = np.random.default_rng(0).exponential(size=(3, 4, 5000))
    coords = {"step_size": estimate.draws.sample_stats["step_size"]}
    statistics = xr.Dataset({"loss_difference": (("step_size", "chain", "draw"), losses)}, coords)
    long = xr.DataTree.from_dict({"/sample_stats": statistics, "/warmup_sample_stats": statistics})
    long.attrs = estimate.draws.attrs
    monkeypatch.setattr(type(run), "__getitem__", lambda self, step: dataclasses.replace(estimate, draws=long))
    rows = tuple(run.rows[1] | {"step": step} for step in range(30))
    path = write_report(tmp_path / "report.html", trajectory=dataclasses.replace(run, rows=rows))
    assert 0.5e6 < path.stat().st_size < 3e6


@pytest.mark.parametrize("where", ["replace", "write_text"])
def test_written_whole_or_not_at_all(where, estimate, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os if where == "replace" else Path, where, fail)
        with pytest.raises(KeyboardInterrupt):
            write_report(path, estimates={"a": estimate})
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]
    write_report(path, estimates={"a": estimate})
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert os.listdir(tmp_path) == ["report.html"]
    assert path.stat().st_mode & 0o044, "others may read it, as the umask allows"


def test_steps_whose_chains_are_shown():
    good, bad, mild = (Verdict.CONVERGED,), (Verdict.TOO_FEW_DRAWS,), (Verdict.TEMPERATURE, Verdict.CONVERGED)
    rows = lambda verdicts: [{"step": 10 * i, "verdicts": v} for i, v in enumerate(verdicts)]
    assert steps_with_chains(rows([good])) == [0]
    assert steps_with_chains(rows([good, bad])) == [0, 10]
    assert steps_with_chains(rows([good] * 21)) == [0, 100, 200]
    many = [mild] * 41
    many[3], many[30] = bad, (Verdict.DIVERGED,)
    assert {0, 30, 200, 300, 400} < set(steps_with_chains(rows(many)))
    assert len(steps_with_chains(rows(many))) == 8
    assert 290 in steps_with_chains(rows([*[bad] * 29, (Verdict.DIVERGED,), *[bad] * 11])), "the worst have room"


def test_a_run_folder(run_folder, tmp_path, parsed):
    out = report_of_run(run_folder, tmp_path / "there.html")
    assert out == tmp_path / "there.html"
    assert f"Local learning coefficient: {run_folder.name}" in parsed(out).texts_of("h1")


def test_a_folder_of_draws_names_what_is_none(estimate, tmp_path, parsed):
    save(estimate.draws, tmp_path / "last.nc")
    save(estimate.draws.drop_nodes("sample_stats"), tmp_path / "foreign.nc")
    (tmp_path / "damaged.nc").write_bytes((tmp_path / "last.nc").read_bytes()[:1000])
    (tmp_path / "calibration.png").write_bytes(b"\x89PNG")
    page = parsed(report_of_run(str(tmp_path)))
    assert (tmp_path / "report.html").exists()
    assert page.all("img")[0]["src"] == "data:image/png;base64,iVBORw=="
    left_out = [text for text in page.texts_of("p") if text.startswith("Left out")]
    assert ["damaged.nc" in left_out[0], "foreign.nc" in left_out[1]] == [True, True]
    assert [a["id"] for a in page.all("details") if "id" in a] == ["estimate-0"]
    assert page.texts_of("summary")[0].startswith("last: λ̂ = ")


def test_refusals(estimate, tmp_path):
    with pytest.raises(ValueError, match=r"holds nothing\. Give a folder of llcoef trajectory --out, or one with"):
        report_of_run(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="holds files of other kinds"):
        report_of_run(tmp_path)
    (tmp_path / "a.nc").touch()
    with pytest.raises(ValueError, match=r"a\.nc holds no draws: .*cannot be read"):
        report_of_run(tmp_path)
    with pytest.raises(ValueError, match="is no folder; give the one that"):
        report_of_run(tmp_path / "none")
    with pytest.raises(ValueError, match="there is nothing to report; give"):
        write_report(tmp_path / "report.html", estimates={})
    with pytest.raises(ValueError, match="is a folder; give the file to write"):
        write_report(tmp_path, estimates={"a": estimate})
    with pytest.raises(ValueError, match="does not exist; make it first"):
        write_report(tmp_path / "none" / "report.html", estimates={"a": estimate})
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "a.txt"]
