"""`llcoef zoo`: estimates beside exact values."""

import json

from rich.console import Console
from rich.table import Table

from llc.estimators.estimate import estimate
from llc.zoo import FAMILIES

_SIGMAS = 4.0


def run_zoo(family: str | None, *, n: int, localization: float, seed: int, as_json: bool, quiet: bool) -> bool:
    """Estimate every entry of a family, or of all, and say whether each lies within 4 standard errors of its λ_n.

    Raises:
        ValueError: the family is unknown.
    """
    if family is not None and family not in FAMILIES:
        msg = f"no family {family!r} in the zoo; there are {', '.join(FAMILIES)}."
        raise ValueError(msg)
    rows = []
    for make in (make for name, makes in FAMILIES.items() if family in (None, name) for make in makes):
        entry = make(n=n)
        result = estimate(
            entry.problem, entry.params, localization=localization, rng_key=seed, progress=not (quiet or as_json)
        )
        exact = entry.finite_n(result.nbeta, localization)
        off = None if exact is None else (result.value - exact) / result.std_error
        rows.append(
            {
                "entry": entry.name,
                "llc": result.value,
                "std_error": result.std_error,
                "exact_finite_n": exact,
                "standard_errors_off": off,
                "asymptotic": str(entry.learning_coefficient),
                "multiplicity": entry.multiplicity,
                "verdicts": [str(verdict) for verdict in result.verdicts],
                "outcome": "no exact value" if off is None else "pass" if abs(off) <= _SIGMAS else "FAIL",
                "source": entry.source,
            }
        )
        if not as_json and not quiet:
            Console(stderr=True).print(f"{entry.name}: {rows[-1]['outcome']}")
    print(json.dumps(rows, indent=2)) if as_json else _show(rows, n)
    return all(row["outcome"] != "FAIL" for row in rows)


def _show(rows: list[dict], n: int) -> None:
    table = Table(
        title=f"λ̂ against exact values at n = {n} (population loss); λ_n is what a sampler must give, λ its limit"
    )
    for name in ("entry", "λ̂", "λ_n", "off by", "λ", "m", "outcome", "verdicts"):
        table.add_column(name)
    for row in rows:
        exact = "" if row["exact_finite_n"] is None else f"{row['exact_finite_n']:.4f}"
        off = "" if row["standard_errors_off"] is None else f"{row['standard_errors_off']:+.1f} s.e."
        table.add_row(
            row["entry"],
            f"{row['llc']:.4f} ± {row['std_error']:.4f}",
            exact,
            off,
            row["asymptotic"],
            str(row["multiplicity"]),
            row["outcome"],
            ", ".join(row["verdicts"]),
        )
    Console().print(table)
