"""Small linear programmes in exact rationals: min ⟨c, v⟩ over v ≥ 0 with Av ≥ 1, by their vertices."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

Row = list[Fraction]


def minimise(cost: Sequence[Fraction], rows: Sequence[Row]) -> tuple[Fraction, int]:
    """The minimum, and the dimension of the face that attains it; with positive costs that face is bounded.

    >>> minimise([Fraction(1), Fraction(1)], [[Fraction(2), Fraction(2)]])  # (w1 w2)²: a segment of minima
    (Fraction(1, 2), 1)

    Args:
        cost: c > 0.
        rows: A ≥ 0, a constraint a row.
    """
    dimension = len(cost)
    constraints = [(row, Fraction(1)) for row in rows]
    constraints += [([Fraction(i == j) for j in range(dimension)], Fraction(0)) for i in range(dimension)]
    values: dict[tuple[Fraction, ...], Fraction] = {}
    for active in combinations(constraints, dimension):  # a vertex meets d constraints with equality
        system = echelon([[*row, bound] for row, bound in active])
        vertex = tuple(row[-1] for row in system)
        if all(row[i] == 1 for i, row in enumerate(system)) and len(vertex) == dimension:
            feasible = all(dot(row, vertex) >= bound for row, bound in constraints)
            values |= {vertex: dot(cost, vertex)} if feasible else {}
    least = min(values.values())
    first, *others = [vertex for vertex, value in values.items() if value == least]
    return least, len(echelon([[a - b for a, b in zip(other, first, strict=True)] for other in others]))


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """⟨a, b⟩.

    >>> dot([Fraction(1, 2)], [Fraction(1, 3)])
    Fraction(1, 6)
    """
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def echelon(matrix: list[Row]) -> list[Row]:
    """The non-zero rows of the reduced row echelon form; their number is the rank.

    >>> echelon([[Fraction(2), Fraction(4)], [Fraction(1), Fraction(2)]])
    [[Fraction(1, 1), Fraction(2, 1)]]
    """
    rows, done = [list(row) for row in matrix], 0
    for column in range(len(rows[0]) if rows else 0):
        pivot = next((i for i in range(done, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[done], rows[pivot] = rows[pivot], rows[done]
        lead = rows[done] = [entry / rows[done][column] for entry in rows[done]]
        for i, row in enumerate(rows):
            if i != done:
                rows[i] = [entry - row[column] * head for entry, head in zip(row, lead, strict=True)]
        done += 1
    return rows[:done]
