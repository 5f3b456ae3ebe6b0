"""Position codes as layers: learned or sine, for a sequence or a grid. Each returns the code to add to the tokens.

Not here: the sine formula and the resizing of tables (vision/position_codes.py).
"""

from minivis import backend, ops
from minivis.autograd import Tensor
from minivis.nn import init
from minivis.nn.module import Module, Parameter, as_tensor
from minivis.vision.position_codes import sine_position_code, sine_position_code_1d

__all__ = ["LearnedPositionCode1d", "LearnedPositionCode2d", "SinePositionCode1d", "SinePositionCode2d"]


def _like(code, x):
    """A CPU array as a Tensor with the dtype of ``x`` (float32 for integers), on the device of ``x``."""
    dtype = x.dtype if x.dtype.kind == "f" else "float32"
    return Tensor(backend.move(code.astype(dtype, copy=False), x.device))


class SinePositionCode1d(Module):
    """Sines and cosines of the position in a sequence of any length; no parameters. Use it as ``x + position(x)``.

    Parameters
    ----------
    width : int
        D, the length of the tokens; it must be even.
    temperature : float, default 10000
        The longest wavelength is 2 pi times this.

    References
    ----------
    Vaswani et al. 2017, section 3.5. Slide ``A/21-positions-are-added``.

    Examples
    --------
    >>> import numpy as np
    >>> SinePositionCode1d(4)(np.zeros((2, 3, 4), np.float32)).shape
    (3, 4)
    """

    def __init__(self, width, temperature=10000.0):
        self.width, self.temperature = width, temperature

    def forward(self, x):
        """The code (N, D) of tokens (B, N, D), in their dtype and on their device."""
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[-1] != self.width:
            raise ValueError(f"SinePositionCode1d: x must be (B, N, D={self.width}) (x: {tuple(x.shape)})")
        code = sine_position_code_1d(x.shape[-2], self.width, temperature=self.temperature, dtype="float64")
        return _like(code, x)

    def extra_repr(self):
        return f"{self.width}"


class SinePositionCode2d(Module):
    """Sines and cosines of row and column. Use it as ``x + position(x)`` for maps (B, D, H, W).

    Parameters
    ----------
    width : int
        D, the number of channels, divisible by 4: half for the row, half for the column.
    temperature : float, default 10000
        As for `SinePositionCode1d`.
    normalize : bool, default False
        Scale rows and columns to (0, 2 pi], as DETR does.

    References
    ----------
    Carion et al., "End-to-end object detection with transformers", ECCV 2020, appendix A.4.

    Examples
    --------
    >>> import numpy as np
    >>> SinePositionCode2d(8)(np.zeros((2, 8, 3, 5), np.float32)).shape
    (8, 3, 5)
    """

    def __init__(self, width, temperature=10000.0, normalize=False):
        self.width, self.temperature, self.normalize = width, temperature, normalize

    def forward(self, x):
        """The code (D, H, W) of maps (B, D, H, W), in their dtype and on their device."""
        x = as_tensor(x)
        if x.ndim != 4 or x.shape[1] != self.width:
            raise ValueError(f"SinePositionCode2d: x must be (B, D={self.width}, H, W) (x: {tuple(x.shape)})")
        code = sine_position_code(
            *x.shape[2:], self.width, temperature=self.temperature, normalize=self.normalize, dtype="float64"
        )
        return _like(code.transpose(2, 0, 1), x)

    def extra_repr(self):
        return f"{self.width}" + (", normalize=True" if self.normalize else "")


class LearnedPositionCode1d(Module):
    """One learned vector for each position of a sequence. Use it as ``x + position(x)``.

    Parameters
    ----------
    max_length : int
        Number of positions, the longest sequence.
    width : int
        D, the length of the tokens.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal with standard deviation 0.02. None is seed 0.

    Attributes
    ----------
    table : Parameter, shape (max_length, width)

    Raises
    ------
    ValueError
        When called, if there are more tokens than positions, or the tokens have another width.

    References
    ----------
    Slides ``A/21-positions-are-added``, ``A/31-learned-positions``.

    Examples
    --------
    >>> import numpy as np
    >>> LearnedPositionCode1d(10, 4)(np.zeros((2, 3, 4), np.float32)).shape
    (3, 4)
    """

    def __init__(self, max_length, width, *, rng=None):
        self.table = Parameter(init.trunc_normal((max_length, width), 0.02, init.generator(rng)))

    def forward(self, x):
        """The code (N, D) of tokens (B, N, D)."""
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[-2] > self.table.shape[0] or x.shape[-1] != self.table.shape[1]:
            raise ValueError(
                f"LearnedPositionCode1d: x must be (B, N, D) with N at most {self.table.shape[0]} and "
                f"D={self.table.shape[1]} (x: {tuple(x.shape)})"
            )
        return self.table[: x.shape[-2]]

    def extra_repr(self):
        return ", ".join(map(str, self.table.shape))


class LearnedPositionCode2d(Module):
    """A learned vector for each row and one for each column, concatenated. Use it as ``x + position(x)``.

    Parameters
    ----------
    max_height, max_width : int
        Numbers of rows and columns, the largest map.
    width : int
        D, the number of channels, even: half for the row, half for the column.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal with standard deviation 0.02. None is seed 0.

    Attributes
    ----------
    row, column : Parameter, shapes (max_height, D / 2), (max_width, D / 2)

    Raises
    ------
    ValueError
        If ``width`` is odd; when called, if the map is larger than the tables or has another number of channels.

    References
    ----------
    Carion et al. 2020, table 3, the row of learned codes.

    Examples
    --------
    >>> import numpy as np
    >>> LearnedPositionCode2d(10, 10, 8)(np.zeros((2, 8, 3, 5), np.float32)).shape
    (8, 3, 5)
    """

    def __init__(self, max_height, max_width, width, *, rng=None):
        if width % 2:
            raise ValueError(f"LearnedPositionCode2d: width must be even, got {width}")
        rng = init.generator(rng)
        self.row = Parameter(init.trunc_normal((max_height, width // 2), 0.02, rng))
        self.column = Parameter(init.trunc_normal((max_width, width // 2), 0.02, rng))

    def forward(self, x):
        """The code (D, H, W) of maps (B, D, H, W)."""
        x = as_tensor(x)
        (rows, half) = self.row.shape
        columns = self.column.shape[0]
        if x.ndim != 4 or x.shape[1] != 2 * half or x.shape[2] > rows or x.shape[3] > columns:
            raise ValueError(
                f"LearnedPositionCode2d: x must be (B, D={2 * half}, H, W) with H at most {rows} and W at most "
                f"{columns} (x: {tuple(x.shape)})"
            )
        H, W = x.shape[2:]
        row = ops.broadcast_to(self.row[:H].T.reshape(half, H, 1), (half, H, W))
        column = ops.broadcast_to(self.column[:W].T.reshape(half, 1, W), (half, H, W))
        return ops.concatenate([row, column], axis=0)

    def extra_repr(self):
        return f"{self.row.shape[0]}, {self.column.shape[0]}, {2 * self.row.shape[1]}"
