"""The loss of DINO: a student learns to answer for one view of a picture as its teacher does for another; and the centre.

Not here: the networks (models/dino.py), how the teacher follows the student (averaging.py), the views (data/multi_crop.py).
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace
from minivis.complaints import named
from minivis.precision import widened

__all__ = ["dino_loss", "update_centre"]


@named
def dino_loss(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    """The cross-entropy between a teacher's answers and a student's, over all pairs of different views.

    .. math:: P_t = \\mathrm{softmax}\\Big(\\frac{t - c}{\\tau_t}\\Big), \\qquad
        P_s = \\mathrm{softmax}\\Big(\\frac{s}{\\tau_s}\\Big), \\qquad
        L = \\frac{1}{G V - G} \\sum_{i=1}^{G} \\sum_{v \\ne i} \\frac1B \\sum_b -P_t^{ib} \\cdot \\log P_s^{vb}

    The teacher sees the first G views, which are large; the student sees all V. Two large and eight small views make
    2 * 10 - 2 = 18 terms. The centre c is subtracted from the teacher's answers alone.

    Parameters
    ----------
    student : ndarray or Tensor, shape (V B, K)
        s: answers to all views, view after view: the B pictures of the first, then those of the second, ...
    teacher : ndarray or Tensor, shape (G B, K)
        t: answers to the first G views, in the same order. It gets no gradient.
    centre : ndarray or Tensor, shape (K,)
        c, see `update_centre`. It gets no gradient.
    crops : int
        V, how many views of each picture the student saw.
    student_temp, teacher_temp : float, defaults 0.1 and 0.04
        tau_s and tau_t. The lower the temperature, the sharper the answer: the teacher's is the sharper one.

    Returns
    -------
    ndarray or Tensor, shape ()
        Nats. log K if the student's answers are all uniform.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no pair of different views, or a temperature is not above 0.
    TypeError
        If answers are not floating-point.

    Notes
    -----
    Differentiable in ``student`` alone.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, equations 1 to 3 and
    algorithm 1. Slides ``A/100-centring-and-cross-entropy``, ``A/101-temperature-softmax``, ``A/102-multi-crop``,
    ``A/103-avoiding-collapse``.

    Examples
    --------
    >>> import numpy as np
    >>> student, teacher = np.zeros((3, 4)), np.array([[9.0, 0, 0, 0], [9.0, 0, 0, 0]])  # 3 views of one picture
    >>> round(float(dino_loss(student, teacher, np.zeros(4), crops=3)), 4), round(float(np.log(4)), 4)
    (1.3863, 1.3863)
    """
    centre = centre.data if isinstance(centre, Tensor) else centre
    B, G = _check(student, teacher, centre, crops, student_temp, teacher_temp)
    K = student.shape[1]
    answers = teacher.data if isinstance(teacher, Tensor) else teacher
    answers = ops.softmax((widened(answers) - widened(centre)) / teacher_temp, axis=-1).reshape(G, B, K)
    nothing = 0 * answers[0]  # (B, K)
    # for each view the sum of the answers to the others
    targets = [sum((answers[i] for i in range(G) if i != v), nothing) for v in range(crops)]
    targets = namespace(answers).stack(targets)  # (V, B, K)
    logs = ops.log_softmax(widened(student) / student_temp, axis=-1).reshape(crops, B, K)
    loss = -ops.sum(targets * logs) / (B * G * (crops - 1))
    return loss.astype(student.dtype)


def _check(student, teacher, centre, crops, student_temp, teacher_temp):
    """The number of pictures B and of the teacher's views G."""
    for name, x in (("student", student), ("teacher", teacher), ("centre", centre)):
        if x.dtype.kind != "f":
            raise TypeError(f"{name} must be floating-point, got {x.dtype.name}")
    if (
        student.ndim != 2
        or teacher.ndim != 2
        or tuple(centre.shape) != student.shape[1:]
        or student.shape[1] != teacher.shape[1]
    ):
        raise ValueError("student must be (V B, K), teacher (G B, K) and centre (K,)")
    if not hasattr(crops, "__index__") or crops < 2:
        raise ValueError(f"there is no pair of different views: crops must be at least 2, got {crops!r}")
    B = len(student) // crops
    if not B or len(student) % crops or len(teacher) % B or not 1 <= len(teacher) // B <= crops:
        raise ValueError(
            f"with {crops} views, student must have crops * B rows, and teacher B rows for each of its views"
        )
    if not (student_temp > 0 and teacher_temp > 0):
        raise ValueError(f"temperatures must be above 0, got {student_temp} and {teacher_temp}")
    return B, len(teacher) // B


@named
def update_centre(centre, teacher, momentum=0.9):
    """Move the centre towards the mean of the teacher's answers to a batch.

    .. math:: c \\leftarrow m\\, c + (1 - m) \\frac1n \\sum_i t_i

    Subtracting the centre keeps one of the K answers from winning for all pictures. It is updated after the loss of the
    batch has been computed with the old one.

    Parameters
    ----------
    centre : ndarray or Tensor, shape (K,)
        c; zeros at first.
    teacher : ndarray or Tensor, shape (n, K)
        The teacher's answers to all its views of the batch, without softmax.
    momentum : float, default 0.9
        m, 0 (only this batch) to 1 (never changes).

    Returns
    -------
    ndarray, shape (K,)
        A new one, in the dtype of the centre.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no answer, or the momentum is not between 0 and 1.
    TypeError
        If centre or answers are not floating-point.

    References
    ----------
    Caron et al. 2021, equation 4. Slides ``A/100-centring-and-cross-entropy``, ``A/103-avoiding-collapse``.

    Examples
    --------
    >>> import numpy as np
    >>> update_centre(np.zeros(2), np.array([[2.0, 0.0], [4.0, 10.0]]), momentum=0.9)
    array([0.3, 0.5])
    """
    centre, teacher = (x.data if isinstance(x, Tensor) else x for x in (centre, teacher))
    for name, x in (("centre", centre), ("teacher", teacher)):
        if x.dtype.kind != "f":
            raise TypeError(f"{name} must be floating-point, got {x.dtype.name}")
    if teacher.ndim != 2 or centre.shape != teacher.shape[1:] or not len(teacher):
        raise ValueError("centre must be (K,) and teacher (n, K) with at least one row")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be between 0 and 1, got {momentum}")
    moved = momentum * widened(centre) + (1 - momentum) * widened(teacher).mean(axis=0)
    return moved.astype(centre.dtype, copy=False)
