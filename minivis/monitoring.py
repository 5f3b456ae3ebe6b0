"""Which row of a training's history is the best one, and when no better one has come for too long (early stopping).

Not here: keeping the weights of that row (run_state.py), the loop that stops (train.py), lowering the learning rate (optim.py).
"""

import math

__all__ = ["Monitor", "best_row", "better"]

MODES = ("max", "min")


def better(value, best, mode):
    """Whether a value is better than the best so far (None: there is none yet). NaN is never better.

    Examples
    --------
    >>> better(0.5, 0.4, "max"), better(0.5, 0.4, "min"), better(0.4, 0.4, "max"), better(math.nan, None, "max")
    (True, False, False, False)
    """
    if math.isnan(value):
        return False
    return best is None or (value > best if mode == "max" else value < best)


def best_row(values, mode):
    """The number of the best value, the first of equal ones; None if there is none that is a number.

    Examples
    --------
    >>> best_row([math.nan, 0.5, 0.9, 0.9], "max")
    2
    """
    found = None
    for row, value in enumerate(values):
        if better(value, None if found is None else values[found], mode):
            found = row
    return found


class Monitor:
    """The column of the history that says how good the model is, and how long `fit` waits for a better row.

    Parameters
    ----------
    name : str
        The column.
    mode : {"max", "min"}
        Whether large or small numbers are good.
    patience : int or None
        Rows without a better one after which the training stops; None never stops it.
    columns : list of str or None
        The columns that the history will have; None if `evaluate` may add others.
    """

    def __init__(self, name, mode, patience, columns):
        if mode not in MODES:
            raise ValueError(f'fit: mode must be "max" or "min", got {mode!r:.50}')
        if patience is not None and (not hasattr(patience, "__index__") or patience < 1):
            raise ValueError(f"fit: patience must be a whole number of at least 1, got {patience!r:.50}")
        if columns is not None and name not in columns:
            raise ValueError(
                f"fit: monitor={name!r:.50} names no column of the history, which has {', '.join(columns)}: give an "
                "`evaluate` that measures it"
            )
        if mode == "max" and str(name).endswith("loss"):
            raise ValueError(f'fit: monitor={name!r} with mode="max" would keep the worst: pass mode="min"')
        self.name = name
        self.mode = mode
        self.patience = patience

    def check_row(self, row):
        """Refuse a row without the column."""
        if self.name not in row:
            raise ValueError(
                f"fit: monitor={self.name!r:.50} names no column of the history, which has {', '.join(row)}: the dict "
                "that `evaluate` returns must have it"
            )

    def is_best(self, value, history):
        """Whether the number of a new row is better than all in the history."""
        best = self.best(history)
        return better(value, None if best is None else history[self.name][best], self.mode)

    def best(self, history):
        """The number of the best row, or None."""
        return best_row(history.get(self.name, []), self.mode)

    def waited(self, history):
        """The number of rows since the best one; all of them if there is no best one."""
        values = history.get(self.name, [])
        best = best_row(values, self.mode)
        return len(values) if best is None else len(values) - 1 - best

    def stops(self, history):
        """Whether the patience has run out."""
        return self.patience is not None and self.waited(history) >= self.patience

    def result(self, history, stopped, steps):
        """What a user should know at the end, in one line."""
        row = self.best(history)
        if row is None:
            early = f"stopped early after step {history['step'][-1]} of {steps}: " if stopped else ""
            return (
                f"fit: {early}{self.name} was never a number, so the model has the weights of the last step"
            )
        step = history["step"][row]
        value = f"{history[self.name][row]:.4g}"
        if not stopped:
            return f"fit: the model has the weights of step {step}, where {self.name} was best ({value})"
        return (
            f"fit: stopped early after step {history['step'][-1]} of {steps}: no better {self.name} since step {step} "
            f"({value}); the model has the weights of that step"
        )
