"""Plain random calls of the families of detection and segmentation (see plain_inputs.py).

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

__all__ = ["PLAIN_DETECTION"]

PLAIN_DETECTION = {}
