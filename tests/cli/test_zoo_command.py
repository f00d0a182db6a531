import json


def test_estimates_pass_against_exact_values(workplace, llcoef):
    status, out, _ = llcoef("zoo", "regular", "--json")
    (row,) = json.loads(out)
    assert status == 0
    assert row["outcome"] == "pass"
    assert row["asymptotic"] == "3/2"
    assert abs(row["llc"] - row["exact_finite_n"]) < 4 * row["std_error"]


def test_a_wrong_estimate_fails(workplace, llcoef, monkeypatch):
    monkeypatch.setattr("llc.zoo.entry.ZooEntry.finite_n", lambda *_: 9.0)
    status, out, _ = llcoef("zoo", "regular", "--quiet")
    assert status == 1
    assert "FAIL" in out


def test_an_unknown_family_names_the_known(workplace, llcoef):
    status, _, err = llcoef("zoo", "unicorn")
    assert status == 2
    assert "reduced_rank" in err
