"""The assignment problem: pair rows and columns one to one at the least total cost, with a proof that it is the least.

Not here: what a prediction costs an object (losses/set_prediction.py), SciPy's solver, which is faster.
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["linear_sum_assignment"]

LARGEST = 1e300  # beyond it sums of a few costs overflow


def linear_sum_assignment(cost, return_duals=False):
    """Pair each row with a column of its own so that the costs of the pairs have the least possible sum.

    .. math:: \\hat\\sigma = \\arg\\min_\\sigma \\sum_i c_{i, \\sigma(i)}

    The Hungarian method. Rows are taken in one by one; each finds the cheapest way to a free column, on which rows that
    are already paired may have to change to another column. Prices keep that search short: row i gets u_i and column j
    gets v_j so that no pair costs less than its two prices together.

    Parameters
    ----------
    cost : array_like, shape (N, M)
        Any finite numbers, also negative. A Tensor is read without its graph, a GPU array is copied to the host.
    return_duals : bool, default False
        Return the prices u and v as well: the certificate that nothing cheaper exists.

    Returns
    -------
    rows, columns : ndarray of int64, shape (min(N, M),)
        The pairs, rows ascending. Of several optima one is returned, always the same.
    u, v : ndarray of float64, shapes (N,) and (M,)
        Only with ``return_duals``: u_i + v_j <= c_ij everywhere, and equality on the pairs, so that the sum of all
        prices is the cost of the pairs. Prices of the longer side are at most 0, and 0 for whoever stays without partner.

    Raises
    ------
    ValueError
        If ``cost`` is not a matrix, or holds NaN, inf or numbers above 1e300 in size.
    TypeError
        If ``cost`` holds no real numbers.

    Notes
    -----
    Why the prices are a proof: any other choice of pairs costs at least the prices of its rows and columns. If N <= M it
    uses all rows, and columns whose prices are at most 0, so at least the sum of all prices, which is the cost found.
    O(n^2 m) for the shorter side n and the longer side m, in float64. Not differentiable: a matching is a choice.

    References
    ----------
    Kuhn, "The Hungarian method for the assignment problem", 1955; with shortest paths as in Jonker and Volgenant, "A
    shortest augmenting path algorithm for dense and sparse linear assignment problems", Computing 1987. Slides
    ``A/62-best-permutation``, ``H/17-hungarian-table``.

    Examples
    --------
    Three companies, three jobs:

    >>> cost = np.array([[108, 125, 150], [150, 135, 175], [122, 148, 250]])
    >>> rows, columns = linear_sum_assignment(cost)
    >>> columns, int(cost[rows, columns].sum())
    (array([2, 1, 0]), 407)
    """
    cost = _checked(to_numpy(cost))
    wide = cost.shape[0] <= cost.shape[1]
    row_of, u, v = _pair_all_rows(cost if wide else cost.T)
    columns = np.flatnonzero(row_of >= 0)
    rows = row_of[columns]
    if not wide:
        rows, columns, u, v = columns, rows, v, u
    order = np.argsort(rows)
    pairs = rows[order], columns[order]
    return (*pairs, u, v) if return_duals else pairs


def _checked(cost):
    """The costs in float64; what cannot be compared or added is refused (a search on NaN would never end)."""
    if cost.dtype.kind not in "fiub":
        raise TypeError(f"linear_sum_assignment: cost must hold real numbers, got {cost.dtype.name}")
    if cost.ndim != 2:
        raise ValueError(f"linear_sum_assignment: cost must be a matrix (N, M) (cost: {cost.shape})")
    cost = cost.astype(np.float64)
    wrong = ~(np.abs(cost) <= LARGEST)  # NaN compares false
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise ValueError(
            f"linear_sum_assignment: cost must be finite, at most {LARGEST:g} in size; cost[{i}, {j}] is {cost[i, j]}, "
            f"one of {wrong.sum()} such (cost: {cost.shape})"
        )
    return cost


def _pair_all_rows(cost):
    """The row of each column (-1: none) and the prices of rows and columns, for at least as many columns as rows."""
    n, m = cost.shape
    u, v = np.zeros(n), np.zeros(m)
    row_of, column_of = np.full(m, -1), np.full(n, -1)
    for start in range(n):
        length, came_from, reached, end = _shortest_path(cost, u, v, row_of, start)
        # New prices: the path becomes tight (u_i + v_j = c_ij), pairs stay tight, no price pair exceeds its cost
        saved = length[end] - length[reached]
        u[row_of[reached]] += saved
        v[reached] -= saved
        u[start] += length[end]
        # Walk the path back; each row on it gives up its column and takes the next
        column = end
        row = -1
        while row != start:
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
    return row_of, u, v


def _shortest_path(cost, u, v, row_of, start):
    """Dijkstra's search from a row without partner to the nearest column without partner.

    A step from row i to column j costs what c_ij exceeds its prices, c_ij - u_i - v_j; from a taken column one goes on,
    free of charge, to the row that has it. Returns each column's distance, the row it was reached from, the taken columns
    that were passed, and the free column at the end.
    """
    m = cost.shape[1]
    length = np.full(m, np.inf)
    came_from = np.full(m, -1)
    done = np.zeros(m, dtype=bool)
    row = start
    so_far = 0.0
    while True:
        through = so_far + (cost[row] - u[row] - v)
        shorter = ~done & (through < length)
        length[shorter] = through[shorter]
        came_from[shorter] = row
        column = int(np.argmin(np.where(done, np.inf, length)))
        if row_of[column] < 0:
            return length, came_from, np.flatnonzero(done), column
        done[column] = True
        row, so_far = row_of[column], length[column]
