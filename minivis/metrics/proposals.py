"""How many objects a list of proposed regions covers.

Not here: making proposals (vision/proposals.py), average precision, which also asks for the class (detection.py).
"""

from minivis.vision import box_iou

__all__ = ["proposal_recall"]


def proposal_recall(boxes, proposals, threshold=0.5, count=None):
    """The share of objects that at least one of the first proposals covers well.

    .. math:: R = \\frac{1}{n} \\big\\lvert \\{ i : \\max_{j \\le m} \\mathrm{IoU}(b_i, p_j) \\ge t \\} \\big\\rvert

    Parameters
    ----------
    boxes : list of ndarray, shape (T, 4)
        The objects of each image, xyxy.
    proposals : list of ndarray, shape (N, 4)
        The proposals of each image, the most promising first, in the same unit.
    threshold : float, default 0.5
        t, above 0.
    count : int, optional
        m: only so many proposals of each image; default all.

    Returns
    -------
    float
        From 0 to 1; NaN if there is no object.

    Raises
    ------
    ValueError
        If there are not as many lists of proposals as of objects, or the threshold is not above 0 and at most 1,
        or ``count`` is negative.

    References
    ----------
    Uijlings et al., "Selective search for object recognition", IJCV 2013, section 5.2. Slide ``C/44-region-proposals``.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 4.0, 4.0], [5.0, 5.0, 9.0, 9.0]])
    >>> proposals = np.array([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 4.0, 5.0]])
    >>> proposal_recall([boxes], [proposals]), proposal_recall([boxes], [proposals], count=1)
    (0.5, 0.0)
    """
    boxes, proposals = list(boxes), list(proposals)
    if len(boxes) != len(proposals):
        raise ValueError(
            f"proposal_recall: there must be one list of proposals for each image: {len(boxes)} of objects, "
            f"{len(proposals)} of proposals"
        )
    if not 0 < threshold <= 1:
        raise ValueError(f"proposal_recall: threshold must be above 0 and at most 1, got {threshold}")
    if count is not None and count < 0:
        raise ValueError(f"proposal_recall: count must be None or at least 0, got {count}")
    covered, total = 0, 0
    for there, proposed in zip(boxes, proposals, strict=True):
        overlaps = box_iou(there, proposed[:count].astype(there.dtype))  # (T, N)
        covered += int((overlaps.max(axis=1, initial=0) >= threshold).sum())
        total += len(there)
    return covered / total if total else float("nan")
