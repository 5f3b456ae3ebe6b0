"""Cut films into tokens: tubelets, which are blocks in space and time, and frames picked at equal distances.

Not here: attention in space and time (factorised.py), the models (models/vivit.py), patches of images (patches.py).
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.complaints import named

__all__ = ["central_frame_kernel", "inflated_kernel", "tubelet_embed", "uniform_frames"]


@named
def tubelet_embed(video, weight, bias):
    """Cut a film into tubelets, blocks of t x P x P pixels in time and space, and map each linearly to a token.

    .. math:: v'_i = W_e v_i + b, \\qquad W_e \\in \\mathbb{R}^{D \\times C t P P}

    Parameters
    ----------
    video : ndarray or Tensor, shape (B, T, C, H, W)
        Films. T must be divisible by t, H and W by the sides of a patch.
    weight : ndarray or Tensor, shape (D, C, t, P, P)
        The kernel. With t = 1 every frame is cut into patches, as in ViT.
    bias : ndarray or Tensor, shape (D,)
        Added to every token.

    Returns
    -------
    ndarray or Tensor, shape (B, T / t, N, D)
        N = H W / P^2 tokens for each step in time, in reading order.

    Raises
    ------
    ValueError
        If the tubelets do not fill the film, or the weight or bias does not fit.

    Notes
    -----
    Differentiable in all arguments. It is a 3-D convolution whose stride is its kernel. It costs T H W C D multiply-adds,
    however large a tubelet is. A film of 32 frames with 224 x 224 pixels has 16 * 14 * 14 = 3,136 tubelets of 2 x 16 x 16.

    References
    ----------
    Arnab et al., "ViViT: a video vision transformer", ICCV 2021, section 3.2. Slides ``A/110-video-tokens``,
    ``A/111-tubelet-embedding``.

    Examples
    --------
    >>> import numpy as np
    >>> film = np.arange(8.0).reshape(1, 2, 1, 2, 2)  # two frames of 2 x 2 pixels
    >>> tubelet_embed(film, np.ones((1, 1, 2, 1, 1)), np.zeros(1))[0, 0, :, 0]
    array([ 4.,  6.,  8., 10.])
    """
    _check(video, weight, bias)
    B, T, C, H, W = video.shape
    D, _, t, p, q = weight.shape
    x = ops.reshape(video, (B, T // t, t, C, H // p, p, W // q, q))
    x = ops.transpose(x, (0, 1, 4, 6, 3, 2, 5, 7))  # (B, T/t, H/P, W/P, C, t, P, P)
    x = ops.reshape(x, (B, T // t, (H // p) * (W // q), C * t * p * q))  # (B, T/t, N, C t P P)
    return ops.linear(x, ops.reshape(weight, (D, C * t * p * q)), bias)


def _check(video, weight, bias):
    shapes = f"(video: {tuple(video.shape)}, weight: {tuple(weight.shape)}, bias: {tuple(bias.shape)})"
    if video.ndim != 5 or weight.ndim != 5 or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"tubelet_embed: video must be (B, T, C, H, W), weight (D, C, t, P, P) and bias (D,) {shapes}"
        )
    _, T, C, H, W = video.shape
    if 0 in weight.shape[2:]:
        raise ValueError(f"tubelet_embed: a tubelet must have at least one frame and one pixel {shapes}")
    if weight.shape[1] != C:
        raise ValueError(
            f"tubelet_embed: video has C={C} channels but weight expects C={weight.shape[1]} {shapes}"
        )
    if T % weight.shape[2] or H % weight.shape[3] or W % weight.shape[4]:
        tubelet = " x ".join(str(side) for side in weight.shape[2:])
        raise ValueError(
            f"tubelet_embed: tubelets of {tubelet} do not fill {T} frames of {H} x {W} pixels {shapes}"
        )


@named
def uniform_frames(video, count):
    """Pick frames at equal distances: the middle one of each of ``count`` equal parts of a film.

    Parameters
    ----------
    video : ndarray or Tensor, shape (B, T, ...)
        Films.
    count : int
        Number of frames to keep, 1 to T.

    Returns
    -------
    ndarray or Tensor, shape (B, count, ...)
        Frames number floor((2 k + 1) T / (2 count)) for k = 0, 1, ..., count - 1.

    Raises
    ------
    ValueError
        If the film has no such number of frames.

    Notes
    -----
    The paper says only that the frames are sampled uniformly; the middle of each part is the choice made here. Cut into
    patches, these frames are the tubelets with t = 1.

    References
    ----------
    Arnab et al. 2021, section 3.2, figure 2. Slides ``A/110-video-tokens``, ``A/114-uniform-frame-sampling``.

    Examples
    --------
    >>> import numpy as np
    >>> uniform_frames(np.arange(8).reshape(1, 8), 4)
    array([[1, 3, 5, 7]])
    """
    whole = hasattr(count, "__index__")
    if video.ndim < 2 or not whole or not 1 <= count <= video.shape[1]:
        raise ValueError(
            f"uniform_frames: count must be a whole number from 1 to the number of frames, got {count!r:.50} "
            f"(video: {tuple(video.shape)})"
        )
    T = video.shape[1]
    if count == T:
        return video
    return video[:, [(2 * k + 1) * T // (2 * count) for k in range(count)]]


@named
def central_frame_kernel(weight, frames):
    """A kernel for tubelets that looks at one frame only, with the kernel of an image model: zeros at all other frames.

    .. math:: E = [0, \\dots, E_{image}, \\dots, 0]

    Parameters
    ----------
    weight : ndarray or Tensor, shape (D, C, P, P)
        Kernel of the patch embedding of an image model.
    frames : int
        t, the number of frames of a tubelet.

    Returns
    -------
    ndarray, shape (D, C, t, P, P)
        Frame t // 2 has the kernel: with two frames, the second.

    Raises
    ------
    ValueError
        As for `inflated_kernel`.

    Notes
    -----
    The published code has a second function of this name, for models that start from random weights. It sets to zero all
    *columns* of an image patch but one, because it takes axis 2 of a kernel (t, P, P, C, D) for the time. What is loaded
    from an image model is right there.

    References
    ----------
    Arnab et al. 2021, equation 9. Slide ``A/112-positions-from-images``.

    Examples
    --------
    >>> import numpy as np
    >>> central_frame_kernel(np.ones((1, 1, 1, 1)), 3).ravel()
    array([0., 1., 0.])
    """
    kernel = _repeated(weight, frames)
    kernel[:, :, : frames // 2] = 0
    kernel[:, :, frames // 2 + 1 :] = 0
    return kernel


@named
def inflated_kernel(weight, frames):
    """A kernel for tubelets that averages over their frames, with the kernel of an image model: on a still film it agrees.

    .. math:: E = \\tfrac 1 t [E_{image}, \\dots, E_{image}]

    Parameters
    ----------
    weight : ndarray or Tensor, shape (D, C, P, P)
        Kernel of the patch embedding of an image model.
    frames : int
        t, the number of frames of a tubelet.

    Returns
    -------
    ndarray, shape (D, C, t, P, P)

    Raises
    ------
    ValueError
        If the weight is no kernel of images, or the number of frames is not a whole number of at least 1.

    References
    ----------
    Arnab et al. 2021, equation 8. Slide ``A/112-positions-from-images``.

    Examples
    --------
    >>> import numpy as np
    >>> inflated_kernel(np.ones((1, 1, 1, 1)), 4).ravel()
    array([0.25, 0.25, 0.25, 0.25])
    """
    return _repeated(weight, frames) / frames


def _repeated(weight, frames):
    """A kernel of images (D, C, P, P), the same in every frame: a new array (D, C, t, P, P)."""
    weight = weight.data if isinstance(weight, Tensor) else weight
    if weight.ndim != 4 or not hasattr(frames, "__index__") or frames < 1:
        raise ValueError(
            f"weight must be (D, C, P, P) and frames a whole number of at least 1, got {frames!r:.50}"
        )
    return weight[:, :, None].repeat(frames, axis=2)
