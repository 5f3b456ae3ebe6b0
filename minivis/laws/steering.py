"""The laws of steering_matrices and steering_kernel_regression: kernels that stretch along edges.

Not here: kernels that follow intensities (filters.py), gradients of an image.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "A/10-lark"
MATRIX = (
    r"C = \gamma \Big(\rho\, v_1 v_1^T + \frac{1}{\rho} v_2 v_2^T\Big), \quad "
    r"\rho = \frac{s_1 + \lambda'}{s_2 + \lambda'}, \quad "
    r"\gamma = \Big(\frac{s_1 s_2 + \lambda''}{M}\Big)^\alpha"
)
KERNEL = r"K_l = \sqrt{\det C_l}\; e^{-\Delta p_l^T C_l\, \Delta p_l / (2 h^2)}"
BORDER = (
    "beyond the border everything is mirrored without repeating the edge pixel (np.pad with mode='reflect')"
)


def _windows(x, window):
    """The window around each pixel: (H, W, ...) to (H, W, ..., window, window)."""
    widths = [(window // 2,) * 2] * 2 + [(0, 0)] * (x.ndim - 2)
    return np.lib.stride_tricks.sliding_window_view(
        np.pad(x, widths, mode="reflect"), (window, window), axis=(0, 1)
    )


def _steering_matrices(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
    samples = _windows(np.stack([gx, gy], axis=-1), window)  # (H, W, 2, window, window)
    G = np.swapaxes(samples.reshape(*gx.shape, 2, window**2), -1, -2)  # (H, W, M, 2)
    s, v = np.linalg.svd(G, full_matrices=False)[1:]  # (H, W, 2), (H, W, 2, 2)
    rho = (s[..., 0] + lam) / (s[..., 1] + lam)
    gamma = ((s[..., 0] * s[..., 1] + lam2) / window**2) ** alpha
    across = v[..., 0, :, None] * v[..., 0, None, :]
    along = v[..., 1, :, None] * v[..., 1, None, :]
    C = gamma[..., None, None] * (rho[..., None, None] * across + along / rho[..., None, None])
    return C, None


def _steering_kernel_regression(image, C, window, h, order=0):
    reach = window // 2
    (y, x) = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(image.dtype)
    # the matrices of the neighbours: (H, W, window, window) each
    (a, b, c, d) = (_windows(C[..., i, j], window) for i, j in np.ndindex(2, 2))
    k = np.sqrt(a * d - b * c) * np.exp(-(a * x * x + (b + c) * x * y + d * y * y) / (2 * h**2))
    surface = np.stack([x**0, x, y, x * x, x * y, y * y][: 6 if order == 2 else 1])  # (6, w, w) or (1, w, w)
    left = np.einsum("hwij,sij,tij->hwst", k, surface, surface)
    right = np.einsum("hwij,sij->hws", k * _windows(image, window), surface)
    return np.linalg.solve(left, right[..., None])[..., 0, 0], None


steering_matrices = Family(
    "steering_matrices",
    _steering_matrices,
    ("gx", "gy"),
    form=f"f(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5); gradients (H, W) to the right and down, window odd, M its square "
    f"-> (H, W, 2, 2) in the order (x, y); {BORDER}",
)
regression = Family(
    "steering_kernel_regression",
    _steering_kernel_regression,
    ("image", "C"),
    form=f"f(image, C, window, h, order=0); image (H, W), C (H, W, 2, 2) in the order (x, y), order 0 or 2 -> (H, W); "
    f"{BORDER}",
)


def _agrees(f, case, atol=2e-5):
    """Surfaces of order 2 are solved for, which costs float32 digits."""
    f.agrees(case, atol=1e-3 if case.everything.get("order") == 2 else atol)


regression.same = _agrees


def _margin(case):
    return case["window"] // 2


def _read_as(read, inside=True):
    """Compare what ``read`` makes of the matrices (H, W, 2, 2), at the pixels whose windows lie inside the map."""

    def holds(f, case):
        got = f(case)
        expected = f.right(case)
        if got.shape != expected.shape:
            raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
        margin = _margin(case) if inside else 0
        inner = (slice(margin, -margin or None),) * 2
        with np.errstate(all="ignore"):
            compare(
                read(got[inner].astype(np.float64)), read(expected[inner]), 1e-3, 1e-4, what="What it says"
            )

    return holds


def _trace(C):
    return C[..., 0, 0] + C[..., 1, 1]


def _det(C):
    return C[..., 0, 0] * C[..., 1, 1] - C[..., 0, 1] * C[..., 1, 0]


def _noise(draw, rows, columns, scale=1.0):
    """Numbers between -3 and 3 with two decimals, none of them 0."""
    rng = generator(draw)
    size = rng.integers(10, 301, (rows, columns)) / 100
    return (rng.choice([-1, 1], (rows, columns)) * size * scale).astype(np.float32)


def _field(draw, rows=4, columns=4, window=3, **options):
    return {"gx": _noise(draw, rows, columns), "gy": _noise(draw, rows, columns), "window": window, **options}


# steering_matrices


def _flat(draw):
    zeros = np.zeros((3, integer(draw, 3, 4)), np.float32)
    return {"gx": zeros, "gy": zeros.copy(), "window": 3}


def _diagonal_edge(draw):
    """Gradients along one diagonal, of any length."""
    g = np.abs(_noise(draw, 4, 4))
    return {"gx": g, "gy": g * choose(draw, np.float32(-1), np.float32(1)), "window": 3}


def _steep_edge(draw):
    """Gradients mostly along one axis, and a little along the other."""
    long = np.abs(_noise(draw, 4, 4))
    short = np.abs(_noise(draw, 4, 4)) / 4
    sign = choose(draw, np.float32(-1), np.float32(1))
    first, second = (long, sign * short) if choose(draw, True, False) else (sign * short, long)
    return {"gx": first, "gy": second, "window": 3}


def _built(scaling=None, elongation=None, swapped=False):
    """A mutant: another ``scaling(s1, s2, M, lam2, alpha)``, ``elongation(s1, s2, lam)``, or v_1 and v_2 swapped."""
    scaling = scaling or (lambda s1, s2, M, lam2, alpha: ((s1 * s2 + lam2) / M) ** alpha)
    elongation = elongation or (lambda s1, s2, lam: (s1 + lam) / (s2 + lam))

    def mutant(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
        G = np.stack([_windows(g, window).reshape(*gx.shape, window**2) for g in (gx, gy)], axis=-1)
        _, s, v = np.linalg.svd(G, full_matrices=False)
        rho = elongation(s[..., 0], s[..., 1], lam)[..., None, None]
        gamma = scaling(s[..., 0], s[..., 1], window**2, lam2, alpha)[..., None, None]
        v1, v2 = (v[..., 1, :], v[..., 0, :]) if swapped else (v[..., 0, :], v[..., 1, :])
        outer = [u[..., :, None] * u[..., None, :] for u in (v1, v2)]
        return (gamma * (rho * outer[0] + outer[1] / rho)).astype(gx.dtype)

    return mutant


def _with_options(**fixed):
    """A mutant for which some options have one value, whatever the call says."""

    def mutant(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
        return _steering_matrices(gx, gy, window, **{"lam": lam, "lam2": lam2, "alpha": alpha, **fixed})[0]

    return mutant


def _y_first(*args, **options):
    return np.ascontiguousarray(_steering_matrices(*args, **options)[0][..., ::-1, ::-1])


def _by_the_length(gx, gy, window, **options):
    """The gradients are divided by their length: 0 / 0 on flat ground."""
    C = _steering_matrices(gx, gy, window, **options)[0]
    length = np.sqrt((gx**2).sum() + (gy**2).sum())
    with np.errstate(all="ignore"):
        return C * (length / length)


def _twice(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
    """The larger eigenvalue in both directions."""
    C = _steering_matrices(gx, gy, window, lam, lam2, alpha)[0]
    gamma = np.sqrt(_det(C))
    larger = _trace(C) / 2 + np.sqrt(np.maximum((_trace(C) / 2) ** 2 - gamma**2, 0))
    return (larger[..., None, None] * np.eye(2)).astype(gx.dtype)


def _padded_first(mode):
    def mutant(gx, gy, window, **options):
        reach = window // 2
        inner = slice(reach, -reach or None)
        gx, gy = (np.pad(g, reach, mode=mode) for g in (gx, gy))
        return _steering_matrices(gx, gy, window, **options)[0][inner, inner]

    return mutant


def _disk_matrices(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
    """Only the pixels in a disk."""
    steps = np.arange(window) - window // 2
    inside = (steps[:, None] ** 2 + steps**2 <= window**2 / 4).reshape(-1)
    views = [_windows(g, window).reshape(*gx.shape, window**2) for g in (gx, gy)]
    G = np.stack([v[..., inside] for v in views], axis=-1)
    _, s, v = np.linalg.svd(G, full_matrices=False)
    rho = (s[..., :1, None] + lam) / (s[..., 1:, None] + lam)
    gamma = ((s[..., 0] * s[..., 1] + lam2) / inside.sum())[..., None, None] ** alpha
    outer = [v[..., i, :, None] * v[..., i, None, :] for i in (0, 1)]
    return (gamma * (rho * outer[0] + outer[1] / rho)).astype(gx.dtype)


def _turned_matrices(gx, gy, window, **options):
    turned = (g.reshape(g.shape[::-1]) for g in (gx, gy))
    return _steering_matrices(*turned, window, **options)[0].reshape(*gx.shape, 2, 2)


steering_matrices.agrees(
    "flat ground",
    "On flat ground the kernel is round: C is (lambda''/M) to the power alpha, times the identity.",
    inputs=_flat,
    equation=r"C = \Big(\frac{\lambda''}{M}\Big)^\alpha I",
    slide=SLIDE,
    hint="With all gradients 0 both singular values are 0 and no direction is preferred. Does your function divide by one of "
    "them, or by the length of a gradient?",
    mutant=_by_the_length,
    value=False,
)
steering_matrices.law(
    "thin across the edge",
    inputs=_diagonal_edge,
    equation=MATRIX,
    slide=SLIDE,
    hint="v_1, the direction of the largest singular value, points across the edge, where the kernel must be thin: C is "
    "large there. v_1 has the factor rho, v_2 has 1 / rho.",
    mutant=_built(swapped=True),
    value=True,
    right_too=False,
    sentence="C is large in the direction of the gradients and small along the edge.",
)(_read_as(lambda C: C[..., 0, 1] / _trace(C)))
steering_matrices.law(
    "x before y",
    inputs=_steep_edge,
    equation=r"C = \begin{pmatrix} C_{xx} & C_{xy} \\ C_{xy} & C_{yy} \end{pmatrix}",
    slide=SLIDE,
    hint="C[..., 0, 0] belongs to gx and the columns, C[..., 1, 1] to gy and the rows.",
    mutant=_y_first,
    value=True,
    right_too=False,
    sentence="The first row and column of each matrix belong to x, the second to y.",
)(_read_as(lambda C: (C[..., 0, 0] - C[..., 1, 1]) * C[..., 0, 1] / _trace(C) ** 2))
steering_matrices.law(
    "the determinant",
    inputs=lambda draw: _field(draw, alpha=choose(draw, 0.25, 1.0)),
    equation=r"\det C = \gamma^2 = \Big(\frac{s_1 s_2 + \lambda''}{M}\Big)^{2 \alpha}",
    slide=SLIDE,
    hint="rho and 1 / rho cancel in the determinant, so it is gamma squared. Is alpha the exponent?",
    mutant=_with_options(alpha=0.5),
    value=True,
    right_too=False,
    sentence="The determinant of C is gamma squared: elongation changes the shape of a kernel, not its area.",
)(_read_as(_det))
steering_matrices.law(
    "the elongation",
    inputs=lambda draw: _field(draw, lam=choose(draw, 0.2, 3.0)),
    equation=r"\rho = \frac{s_1 + \lambda'}{s_2 + \lambda'}",
    slide=SLIDE,
    hint="The eigenvalues of C are gamma rho and gamma / rho, with rho = (s_1 + lam) / (s_2 + lam). The singular values are "
    "those of G, not their squares.",
    mutant=_with_options(lam=1.0),
    value=True,
    right_too=False,
    sentence="The two eigenvalues of C have the ratio rho squared.",
)(_read_as(lambda C: _trace(C) / np.sqrt(_det(C))))
steering_matrices.law(
    "mirrored border",
    inputs=_field,
    equation=r"g_{-1} = g_1,\ g_{-2} = g_2",
    hint="Mirror gx and gy as they are, without repeating the edge pixel: np.pad(g, reach, mode='reflect').",
    mutant=_padded_first("symmetric"),
    value=True,
    right_too=False,
    sentence="Beyond the border the gradients are mirrored, and those of the edge are not repeated.",
)(_read_as(_det, inside=False))
steering_matrices.law(
    "a square window",
    inputs=lambda draw: _field(draw, 5, 5, window=5),
    equation=r"M = \text{window}^2",
    slide=SLIDE,
    hint="All window * window gradients count, the corners as well, and M is their number.",
    mutant=_disk_matrices,
    value=True,
    right_too=False,
    sentence="All gradients of the square window count alike.",
)(_read_as(_det))
steering_matrices.law(
    "rows and columns",
    inputs=lambda draw: _field(draw, *choose(draw, (3, 5), (5, 3), (4, 5))),
    hint="gx.shape is (rows, columns). Are the two exchanged somewhere, or is one used for both?",
    mutant=_turned_matrices,
    value=True,
    right_too=False,
    sentence="Maps that are not square keep their rows and columns.",
)(_read_as(_det))
every_family(
    steering_matrices,
    inputs=_field,
    shapes=lambda draw: _field(draw, integer(draw, 1, 2), integer(draw, 1, 3)),
    shape_hint="A matrix for each pixel: (H, W, 2, 2), also if a side of the image is 1.",
)


def _any_field(draw):
    window = choose(draw, 3, 5)
    rows, columns = (window // 2 + integer(draw, 1, 3) for _ in range(2))
    scale = choose(draw, 1.0, 0.3, 2.0)
    gx, gy = _noise(draw, rows, columns, scale), _noise(draw, rows, columns, scale)
    kind = integer(draw, 0, 5)
    if kind == 0:  # an edge without noise
        gy = np.zeros_like(gy)
    options = {
        "lam": choose(draw, 1.0, 0.1, 2.0),
        "lam2": choose(draw, 0.01, 0.5, 2.0),
        "alpha": choose(draw, 0.5, 0.3),
    }
    given = {name: value for name, value in options.items() if choose(draw, True, False)}
    return {"gx": gx, "gy": gy, "window": window, **given}


values(
    steering_matrices,
    simplest=_field,
    words="a small map, a window of 3 x 3, no options",
    anything=_any_field,
    hint="Try each option away from its default: lam, lam2 and alpha have places of their own in the formula.",
    mutant=_with_options(lam2=0.01),
)
for name, hint, answer in (
    (
        "thin along the edge",
        "v_1 and v_2 are exchanged: the kernel lies across the edge and blurs it. v_1 has the factor rho.",
        _built(swapped=True),
    ),
    (
        "y before x",
        "Rows and columns of C are exchanged: C[..., 0, 0] belongs to gx.",
        _y_first,
    ),
    (
        "rho twice",
        "Both directions have the factor rho, so the kernel is round. The direction along the edge has 1 / rho.",
        _twice,
    ),
    (
        "squares of the singular values",
        "You use the eigenvalues of the products of gradients, which are the squares of the singular values: take their "
        "roots.",
        _built(
            lambda s1, s2, M, lam2, alpha: ((s1**2 * s2**2 + lam2) / M) ** alpha,
            lambda s1, s2, lam: (s1**2 + lam) / (s2**2 + lam),
        ),
    ),
    (
        "not divided by M",
        "The scaling is divided by M, the number of gradients in the window.",
        _built(lambda s1, s2, M, lam2, alpha: (s1 * s2 + lam2) ** alpha),
    ),
    (
        "the side of the window for M",
        "M is the number of gradients in the window, its side squared.",
        _built(lambda s1, s2, M, lam2, alpha: ((s1 * s2 + lam2) / M**0.5) ** alpha),
    ),
    (
        "not scaled",
        "gamma is missing: the kernel should be smaller where there is more structure.",
        _built(lambda s1, s2, M, lam2, alpha: s1**0),
    ),
    (
        "flat beyond the border",
        f"Beyond the border your gradients are 0: {BORDER}.",
        _padded_first("constant"),
    ),
    (
        "the edge pixel repeated",
        f"You repeat the edge pixel: {BORDER}.",
        _padded_first("symmetric"),
    ),
):
    steering_matrices.mistake(name, hint, answer)


# steering_kernel_regression


def _inside(f, case):
    """Compare the pixels whose windows lie inside the image."""
    margin = _margin(case)
    inner = (slice(margin, -margin or None),) * 2
    got = f(case)
    expected = f.right(case)
    same_shape = got.shape == expected.shape
    compare(got[inner] if same_shape else got, expected[inner], 1e-3 if case["order"] else 2e-4)


def _grey(draw, rows=5, columns=5):
    return (generator(draw).integers(1, 101, (rows, columns)) / 100).astype(np.float32)


def _one_matrix(rows, columns, matrix):
    return np.ascontiguousarray(np.broadcast_to(np.asarray(matrix, np.float32), (rows, columns, 2, 2)))


def _call(image, C, h, window=3, order=0):
    return {"image": image, "C": C.astype(np.float32), "window": window, "h": h, "order": order}


def _round(draw, rows=5, columns=5, h=None):
    return _call(
        _grey(draw, rows, columns), _one_matrix(rows, columns, np.eye(2)), h or choose(draw, 0.7, 1.0, 2.0)
    )


LONG = (
    4096.0  # with h = 8, a kernel of these two eigenvalues is a line one pixel wide, to float32's last digits
)


def _lines_along_diagonals(draw):
    """Each pixel spreads along one of the two diagonals."""
    sign = generator(draw).choice([-1, 1], (5, 5))
    large = (LONG + 1 / LONG) / 2
    small = (LONG - 1 / LONG) / 2
    C = np.empty((5, 5, 2, 2))
    C[..., 0, 0] = C[..., 1, 1] = large
    C[..., 0, 1] = C[..., 1, 0] = sign * small
    return _call(_grey(draw), C, 8.0)


def _lines_along_an_axis(draw):
    matrix = np.diag(choose(draw, (LONG, 1 / LONG), (1 / LONG, LONG)))
    return _call(_grey(draw), _one_matrix(5, 5, matrix), 8.0)


def _any_matrices(draw, rows, columns):
    """Symmetric, positive definite, with eigenvalues from 1/3 to 3."""
    rng = generator(draw)
    angle = rng.uniform(0, np.pi, (rows, columns))
    v = np.stack([np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)], axis=-1).reshape(
        rows, columns, 2, 2
    )
    sizes = np.exp(rng.uniform(-1.1, 1.1, (rows, columns, 2)))
    return np.swapaxes(v, -1, -2) @ (sizes[..., None] * v)


def _large_and_small(draw):
    return _call(_grey(draw), _any_matrices(draw, 5, 5), 1000.0)


def _curved(draw):
    """A curved surface without a term x y, with values from 0 to 1."""
    rng = generator(draw)
    y, x = np.mgrid[:5, :5] / 4
    a, b, c, d = rng.uniform(-1, 1, 4).round(2)
    surface = a * x + b * y + c * x**2 + d * y**2 + 0.3 * x**2
    surface = (surface - surface.min()) / np.ptp(surface)
    return _call(surface.astype(np.float32), _one_matrix(5, 5, np.eye(2)), choose(draw, 1.0, 2.0), order=2)


def _fitted(weight=None, terms=6, centre=False):
    """A mutant: ``weight(det, square, h)`` gives the weights; only the first ``terms`` of the surface."""
    weight = weight or (lambda det, square, h: np.sqrt(det) * np.exp(-square / (2 * h**2)))

    def mutant(image, C, window, h, order=0):
        y, x = (np.indices((window, window)) - window // 2).astype(image.dtype)
        place = np.stack([x, y])
        own = np.moveaxis(_windows(C, window), (2, 3), (-2, -1))  # (H, W, w, w, 2, 2)
        used = np.broadcast_to(C[:, :, None, None], own.shape) if centre else own
        k = weight(_det(own), np.einsum("aij,hwijab,bij->hwij", place, used, place), h)
        surface = np.stack([x**0, x, y, x * x, y * y, x * y][: terms if order else 1])
        left = np.einsum("hwij,sij,tij->hwst", k, surface, surface)
        right = np.einsum("hwij,sij->hws", k * _windows(image, window), surface)
        return np.linalg.solve(left, right[..., None])[..., 0, 0].astype(image.dtype)

    return mutant


def _of_others(change):
    """A mutant that calls the right answer with other arguments."""
    return lambda image, C, window, h, order=0: _steering_kernel_regression(
        *change(image, C, window, h, order)
    )[0]


def _padded_image(mode):
    border = "symmetric" if mode == "symmetric" else "reflect"  # matrices of zeros would have no weight

    def mutant(image, C, window, h, order=0):
        reach = window // 2
        inner = slice(reach, -reach or None)
        image = np.pad(image, reach, mode=mode)
        C = np.pad(C, ((reach, reach), (reach, reach), (0, 0), (0, 0)), mode=border)
        return _steering_kernel_regression(image, C, window, h, order)[0][inner, inner]

    return mutant


def _turned_image(image, C, window, h, order=0):
    turned = image.reshape(image.shape[::-1])
    out = _steering_kernel_regression(turned, C.reshape(*turned.shape, 2, 2), window, h, order)[0]
    return out.reshape(image.shape)


_at_the_centre = _fitted(centre=True)
_no_half = _fitted(lambda det, square, h: np.sqrt(det) * np.exp(-square / h**2))
_no_root = _fitted(lambda det, square, h: np.exp(-square / (2 * h**2)))
_flipped = _of_others(lambda image, C, *rest: (image, C[..., ::-1, ::-1], *rest))
_weighted_mean = _of_others(lambda image, C, window, h, order: (image, C, window, h))

regression.law(
    "round kernels",
    inputs=_round,
    equation=r"C = I: \quad K_l = e^{-\lVert \Delta p_l \rVert^2 / (2 h^2)}",
    slide=SLIDE,
    hint="With C = I and order 0 this is a Gaussian blur with standard deviation h: the exponent is divided by 2 h^2.",
    mutant=_no_half,
    value=True,
    right_too=False,
    sentence="If every matrix is the identity, this is a Gaussian blur with standard deviation h.",
)(_inside)
regression.law(
    "the neighbour's matrix",
    inputs=_lines_along_diagonals,
    equation=KERNEL,
    slide=SLIDE,
    hint="Each neighbour l spreads its value along its own edge: the exponent uses C_l, the matrix of the neighbour, not that "
    "of the pixel you compute.",
    mutant=_at_the_centre,
    value=True,
    right_too=False,
    sentence="The matrix in a neighbour's weight is that of the neighbour.",
)(_inside)
regression.law(
    "x before y",
    inputs=_lines_along_an_axis,
    equation=r"\Delta p_l = (\Delta x_l, \Delta y_l)",
    slide=SLIDE,
    hint="The offset is (columns to the right, rows down): the first row and column of C belong to x.",
    mutant=_flipped,
    value=True,
    right_too=False,
    sentence="Offsets have the order of the matrices: x, then y.",
)(_inside)
regression.law(
    "the root of the determinant",
    inputs=_large_and_small,
    equation=KERNEL,
    slide=SLIDE,
    hint="With a huge h all exponents are 0, and a neighbour's weight is the square root of the determinant of its matrix.",
    mutant=_no_root,
    value=True,
    right_too=False,
    sentence="A narrow kernel is high: each weight has the factor sqrt(det C_l).",
)(_inside)
regression.law(
    "curved surfaces stay",
    inputs=_curved,
    equation=r"\min_\beta \sum_l K_l \Big(y_l - \beta_0 - \beta_1 x - \beta_2 y - \beta_3 x^2 - \beta_4 x y - \beta_5 y^2\Big)^2",
    slide=SLIDE,
    hint="With order 2 solve (X^T K X) b = X^T K y for each pixel, X with the columns 1, x, y, x^2, x y, y^2; b_0 is the "
    "result.",
    mutant=_weighted_mean,
    value=True,
    right_too=False,
    sentence="With order=2 a surface of second order is not changed, away from the border.",
)(_inside)
regression.law(
    "mirrored border",
    inputs=lambda draw: _round(draw, 4, 4, h=1000.0),
    equation=r"y_{-1} = y_1,\ y_{-2} = y_2",
    hint="Mirror the image and the matrices without repeating the edge pixel: np.pad(..., mode='reflect').",
    mutant=_padded_image("symmetric"),
    value=True,
    right_too=False,
    sentence="Beyond its border the image is mirrored, and the edge pixel is not repeated.",
)(lambda f, case: f.agrees(case))
regression.law(
    "rows and columns",
    inputs=lambda draw: _round(draw, *choose(draw, (4, 5), (5, 4), (3, 6)), h=1000.0),
    hint="image.shape is (rows, columns). Are the two exchanged somewhere, or is one used for both?",
    mutant=_turned_image,
    value=True,
    right_too=False,
    sentence="Images that are not square keep their rows and columns.",
)(_inside)


@regression.law(
    "any unit",
    inputs=lambda draw: _round(draw, 4, 4),
    equation=r"f(a y + c) = a f(y) + c",
    hint="The weights come from the matrices alone, so the result follows the image in any unit. It must not be clipped.",
    mutant=lambda *args, **options: np.clip(_steering_kernel_regression(*args, **options)[0], 0, 1),
    right_too=False,
)
def any_unit(f, case):
    """255 times the image plus 100 gives 255 times the output plus 100."""
    compare(f(case.replace(image=case["image"] * 255 + 100)), f(case).astype(np.float64) * 255 + 100)


def _drawn(draw, rows=4, columns=4, window=3):
    C = _any_matrices(draw, rows, columns).astype(np.float32)
    return {"image": _grey(draw, rows, columns), "C": C, "window": window, "h": choose(draw, 1.0, 0.7, 2.0)}


every_family(
    regression, inputs=_drawn, shapes=lambda draw: _drawn(draw, integer(draw, 1, 2), integer(draw, 1, 2), 1)
)


def _any_regression(draw):
    order = choose(draw, 0, 2)
    window = choose(draw, 3, 5) if order else choose(draw, 3, 1, 5)
    rows, columns = (window // 2 + integer(draw, 1, 3) for _ in range(2))
    case = _drawn(draw, rows, columns, window)
    case["h"] = choose(draw, 1.5, 2.0) if order else choose(draw, 0.7, 1.0, 3.0)
    case["image"] = case["image"] * np.float32(choose(draw, 1.0, 255.0))
    return {**case, "order": order} if order or choose(draw, False, True) else case


values(
    regression,
    simplest=_drawn,
    words="a small image, a window of 3 x 3, order 0",
    anything=_any_regression,
    hint="Try order 2 with a surface like x y: X has six columns, 1, x, y, x^2, x y and y^2.",
    mutant=_fitted(terms=5),
)
for name, hint, answer in (
    (
        "the matrix of the centre",
        "You use the matrix of the pixel that you compute. Each neighbour's weight has the neighbour's own matrix.",
        _fitted(centre=True, weight=lambda det, square, h: np.exp(-square / (2 * h**2))),
    ),
    (
        "y before x",
        "Your offsets are (row, column); the matrices have the order (x, y).",
        _flipped,
    ),
    (
        "no determinant",
        "The factor sqrt(det C_l) is missing: wide kernels count too much.",
        _no_root,
    ),
    (
        "the determinant without its root",
        "The factor is the square root of the determinant of C_l.",
        _fitted(lambda det, square, h: det * np.exp(-square / (2 * h**2))),
    ),
    (
        "no 2 in the denominator",
        "The exponent is divided by 2 h^2.",
        _no_half,
    ),
    (
        "C inverted",
        "You invert C, as for a covariance. C is large across the edge, where the kernel must be thin: it stands in the "
        "exponent as it is.",
        _of_others(lambda image, C, *rest: (image, np.linalg.inv(C), *rest)),
    ),
    (
        "order not used",
        "This is the weighted mean, whatever the order. With order 2 solve for a surface at each pixel.",
        _weighted_mean,
    ),
    (
        "black beyond the border",
        f"Beyond the border the image is 0 in your function: {BORDER}.",
        _padded_image("constant"),
    ),
    (
        "the edge pixel repeated",
        f"You repeat the edge pixel: {BORDER}.",
        _padded_image("symmetric"),
    ),
):
    regression.mistake(name, hint, answer)
