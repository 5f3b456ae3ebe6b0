"""The exponential moving average of weights: a smooth copy of a model that is trained, better than its last step.

Not here: the training loop that keeps one (train.py), averages of gradients (optim.py).
"""

from minivis.backend import is_array
from minivis.complaints import named
from minivis.precision import widened

__all__ = ["ema"]


@named
def ema(teacher, student, m):
    """Move a teacher a little towards a student: the exponential moving average of the student's weights.

    .. math:: \\theta_t \\leftarrow m\\, \\theta_t + (1 - m)\\, \\theta_s

    After many steps the teacher is a mean of the students of about the last 1 / (1 - m) steps.

    Parameters
    ----------
    teacher, student : ndarray, dict of str to ndarray, or Module
        Both of one kind, with the same names and shapes. Every floating array is averaged, also running statistics;
        whole numbers, such as the number of batches, are taken from the student.
    m : float
        The momentum, 0 (copy the student) to 1 (keep the teacher).

    Returns
    -------
    ndarray, dict or Module
        For arrays and dicts a new one, with the dtypes of the teacher. A Module is changed in place and returned.

    Raises
    ------
    ValueError
        If m is not between 0 and 1, or names or shapes differ. Then nothing has changed.
    TypeError
        If teacher and student are of different kinds.

    Notes
    -----
    Not differentiable. Halves are averaged in float32 and rounded once; a teacher in float16 stops moving where a step
    is smaller than its rounding, so keep it in float32.

    References
    ----------
    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, section 2; Brock et al., "Large scale
    GAN training for high fidelity natural image synthesis", ICLR 2019, section 3. Slide ``A/99-student-and-teacher``.

    Examples
    --------
    >>> import numpy as np
    >>> ema(np.array([1.0, 0.0]), np.array([0.0, 2.0]), 0.75)
    array([0.75, 0.5 ])
    """
    if not 0 <= m <= 1:
        raise ValueError(f"m must be between 0 and 1, got {m}")
    if hasattr(teacher, "load_state_dict") and hasattr(student, "state_dict"):
        teacher.load_state_dict(_averaged(teacher.state_dict(), student.state_dict(), m))
        return teacher
    if isinstance(teacher, dict) and isinstance(student, dict):
        return _averaged(teacher, student, m)
    if not is_array(teacher) or not is_array(student):
        kinds = f"{type(teacher).__name__} and {type(student).__name__}"
        raise TypeError(f"teacher and student must be two arrays, two dicts or two Modules, got {kinds}")
    if teacher.shape != student.shape:
        raise ValueError("teacher and student must have one shape")
    if teacher.dtype.kind != "f" or m == 0:
        return student.astype(teacher.dtype)  # a copy
    if m == 1:
        return teacher.copy()  # 0 times infinity would be NaN
    m = float(m)
    return (m * widened(teacher) + (1 - m) * widened(student)).astype(teacher.dtype, copy=False)


def _averaged(teacher, student, m):
    """The averages of two dicts of arrays, by name."""
    if different := sorted(set(teacher) ^ set(student)):
        some = ", ".join(different[:8])
        raise ValueError(f"teacher and student must have the same arrays, but only one of them has {some}")
    if different := [name for name, x in teacher.items() if x.shape != student[name].shape]:
        name = different[0]
        shapes = f"{tuple(teacher[name].shape)} and {tuple(student[name].shape)}"
        raise ValueError(f"{name} of teacher and student must have one shape, got {shapes}")
    return {name: ema(x, student[name], m) for name, x in teacher.items()}
