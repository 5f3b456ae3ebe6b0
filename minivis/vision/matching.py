"""The assignment problem: pair rows and columns one to one at minimal total cost, with a proof that it is minimal.

Not here: the cost of a prediction for an object (losses/set_prediction.py), SciPy's solver, which is faster.
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["linear_sum_assignment"]

LARGEST = 1e300  # sums of a few larger costs would overflow


def linear_sum_assignment(cost, return_duals=False):
    """Pair each row with a different column, so that the sum of the costs of the pairs is minimal.

    .. math:: \\hat\\sigma = \\arg\\min_\\sigma \\sum_i c_{i, \\sigma(i)}

    This is the Hungarian method. Rows are added one by one. For each row, the method searches the cheapest path to a free
    column; on the path, rows that are already paired may change their column. Prices (dual variables) keep the search
    short: row i has the price u_i and column j the price v_j, and no pair costs less than the sum of its two prices.

    Parameters
    ----------
    cost : array_like, shape (N, M)
        Any finite numbers, also negative. The graph of a Tensor is ignored; a GPU array is copied to the CPU.
    return_duals : bool, default False
        Also return the prices u and v, which prove that no cheaper pairing exists.

    Returns
    -------
    rows, columns : ndarray of int64, shape (min(N, M),)
        The pairs, with the rows in increasing order. If there are several optima, always the same one is returned.
    u, v : ndarray of float64, shapes (N,) and (M,)
        Only with ``return_duals``: u_i + v_j <= c_ij for all i and j, with equality for the pairs, so the sum of all
        prices is the cost of the pairs. Prices of the longer side are at most 0, and 0 for rows or columns without partner.

    Raises
    ------
    ValueError
        If ``cost`` is not a matrix, or holds NaN, inf or numbers above 1e300 in size.
    TypeError
        If ``cost`` does not hold real numbers.

    Notes
    -----
    The prices are a proof: the pairs of any other choice cost at least the prices of its rows and columns. If N <= M, the
    choice uses all rows, and the prices of the columns that it does not use are at most 0. So its cost is at least the
    sum of all prices, which is the cost found. The method takes O(n^2 m) for the shorter side n and the longer side m, in
    float64. It is not differentiable.

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
    """The costs in float64; raise for numbers that cannot be compared or added (with NaN the search would never end)."""
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
    """The row of each column (-1: none) and the prices of rows and columns. There must not be more rows than columns."""
    n, m = cost.shape
    u, v = np.zeros(n), np.zeros(m)
    row_of, column_of = np.full(m, -1), np.full(n, -1)
    for start in range(n):
        length, came_from, reached, end = _shortest_path(cost, u, v, row_of, start)
        # New prices: u_i + v_j = c_ij now holds on the path too, still holds for the pairs, and no sum exceeds its cost
        saved = length[end] - length[reached]
        u[row_of[reached]] += saved
        v[reached] -= saved
        u[start] += length[end]
        # Walk the path back: each row on it gives up its column and takes the next one
        column = end
        row = -1
        while row != start:
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
    return row_of, u, v


def _shortest_path(cost, u, v, row_of, start):
    """Dijkstra's search from a row without partner to the nearest column without partner.

    A step from row i to column j costs c_ij - u_i - v_j, which is at least 0. From a column that has a row, the step to
    that row costs nothing. Returns each column's distance, the row it was reached from, the columns that were passed,
    and the free column at the end.
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
