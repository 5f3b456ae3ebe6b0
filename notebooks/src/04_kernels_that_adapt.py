# %% [markdown]
# # 04. Kernels that adapt: bilateral, non-local means, LARK
#
# A convolution has one kernel for the whole image. Long before attention, people who removed noise from photographs
# computed a new kernel at each place, from the image itself. This chapter builds three such kernels: the bilateral filter,
# non-local means and LARK (*locally adaptive regression kernels*). It measures what they are worth. At the end we write
# one of them as attention, exactly.
#
# **Goals**
#
# - You can say why one kernel for the whole image is a compromise, and measure it.
# - You can write the bilateral filter and non-local means, first with loops and then without.
# - You can compute a steering kernel from gradients, and say which way it stretches.
# - You can compare denoisers fairly: settings chosen on one photograph, measured on another, with several noise seeds.
# - You can write the bilateral filter as attention, and say what attention learns that the filters fix by hand.
#
# **Before**: convolutions from [02](02_convolution.ipynb).
#
# **Slides**: Deck A is AIIA, *Attention and Transformer Networks in Computer Vision*, its four pages *Locally adaptive
# kernels*. A section that follows a slide names it by its tag: deck, page and a short name. The papers are Tomasi and
# Manduchi, *Bilateral filtering for gray and color images*, ICCV 1998; Elad, *On the origin of the bilateral filter*,
# 2002; Buades, Coll and Morel, *A review of image denoising algorithms, with a new one*, 2005; Takeda, Farsiu and
# Milanfar, *Kernel regression for image processing and reconstruction*, 2007.
#
# > *A correction.* Page 10 writes the LARK kernel with intensities on both sides of the matrix. In Takeda et al. it is
# > the difference of the two *positions*.
#
# **Time**: about 45 minutes to read, 40 more for the exercises; the cells take about half a minute.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import nn, viz
from minivis.laws import claims
from minivis.metrics import psnr
from minivis.ops import mean, relu

rng = np.random.default_rng(0)

# %% [markdown]
# ## Two photographs and some noise
#
# We work with a part of each of two photographs: a tower with straight edges and fine repeats before an even sky, and a
# flower with curved edges. The noise is Gaussian, with a standard deviation of 10, 25 or 50 on the scale from 0 to 255.
# Quality is measured by the **peak signal-to-noise ratio** in decibels,
#
# $$\mathrm{PSNR} = 10 \log_{10} \frac{1}{\frac1n \sum_i (\hat x_i - x_i)^2}$$
#
# for images from 0 to 1. 10 dB more are a tenth of the squared error, and 1 dB more can just be seen.

# %%
photos = {
    name: mv.data.color.grayscale(mv.data.photos.load(photo)[None])[0, 0]
    for name, photo in (("tower", "china"), ("flower", "flower"))
}
parts = {"tower": photos["tower"][40:168, 100:228], "flower": photos["flower"][150:278, 190:318]}
STRENGTHS = (10, 25, 50)


def noisy_part(name, strength, seed):
    """A part of a photograph with noise: always the same for one seed."""
    noise = np.random.default_rng([seed, strength, *name.encode()]).standard_normal(parts[name].shape)
    return (parts[name] + strength / 255 * noise).astype(np.float32)


assert abs(psnr(noisy_part("tower", 25, 0), parts["tower"]) - 20 * math.log10(255 / 25)) < 0.1
viz.images(
    [picture for name in parts for picture in (parts[name], *(noisy_part(name, s, 0) for s in STRENGTHS))],
    titles=[f"{name}, {what}" for name in parts for what in ("clean", *(f"noise {s}" for s in STRENGTHS))],
    columns=4,
    size=2.0,
    vmin=0,
    vmax=1,
    title="The two parts and their noise",
    caption="128 x 128 pixels of each photograph, clean and with noise of three strengths. Look at the windows of the tower "
    "and the fine lines on the petals: at strength 50 they can hardly be seen.",
)

# %% [markdown]
# ## Why one kernel everywhere is not enough
#
# Slide `A/7-kernels-that-adapt`. The simplest way to remove noise is to average neighbours, with weights that fall with
# their distance: the Gaussian filter, a convolution. The weight of pixel $j$ for pixel $i$ is
# $e^{-\lVert p_i - p_j \rVert^2 / b_p^2}$, divided by the sum of all weights, where $p$ is the position of a pixel and
# $b_p$ the **width** of the kernel. Averaging many pixels removes much noise, but it also averages across edges. Which
# width is best? We ask this twice: for pixels on flat ground, the 30 % with the smallest gradients in the clean image,
# and for pixels at edges, the 30 % with the largest.

# %% tags=["slide:A/7-kernels-that-adapt"]
gx, gy = mv.vision.image_gradients(parts["tower"])
steepness = np.hypot(gx, gy)
flat = steepness < np.quantile(steepness, 0.3)
edges = steepness > np.quantile(steepness, 0.7)
noisy = noisy_part("tower", 25, 0)
widths = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0])
blurred = [mv.vision.gaussian_filter(noisy, 13, float(b)) for b in widths]  # windows of 13 x 13
quality = {
    where: (widths, np.array([psnr(x[mask], parts["tower"][mask]) for x in blurred]))
    for where, mask in (("flat ground", flat), ("edges", edges))
}
best = {where: widths[values.argmax()] for where, (_, values) in quality.items()}
print("best width:", {where: float(b) for where, b in best.items()})
assert best["flat ground"] >= 2 * best["edges"]
two_sides = mv.vision.bilateral_filter(noisy, 9, 3 * 25 / 255, 2.5)
assert psnr(two_sides, parts["tower"]) > max(psnr(x, parts["tower"]) for x in blurred) + 1

viz.curves(
    quality,
    "width of the kernel, pixels",
    "PSNR, dB",
    level={"noisy image": psnr(noisy, parts["tower"])},
    title="One width for the whole image is a compromise",
    caption="Tower with noise 25, Gaussian filter. Compare the highest points of the curves: on flat ground a wide kernel is "
    "best, at edges a narrow one. From 1.4 pixels on, blurring makes edges worse than the noise does. No width is right for "
    "both.",
)

# %% [markdown]
# So the kernel should depend on what is under it. The cell also asserts the slide's claim for the first such kernel, the
# bilateral filter: with one setting for the whole image it is more than 1 dB better than the Gaussian filter of *any* of
# these widths.
#
# ## The bilateral filter
#
# Slide `A/8-bilateral-filter`. The weight of pixel $j$ for pixel $i$ is a Gaussian of their difference in intensity
# times a Gaussian of their distance:
#
# $$k_{ij} = e^{-\lVert x_i - x_j \rVert^2 / b_x^2}\; e^{-\lVert p_i - p_j \rVert^2 / b_p^2}, \qquad
# y_i = \frac{\sum_j k_{ij}\, x_j}{\sum_j k_{ij}}.$$
#
# Here $x$ is the intensity of a pixel, and $b_x$ the width in intensity: pixels that differ by much more than $b_x$ hardly
# count. A pixel across an edge has another intensity, so it gets almost no weight. The sums go over a window around $i$.
# With loops, exactly as on the slide (beyond the border the image is mirrored, without repeating the edge pixel):


# %%
def bilateral_loops(image, window, b_x, b_p):
    """Pixel by pixel, neighbour by neighbour: (H, W) -> (H, W)."""
    reach = window // 2
    padded = np.pad(image, reach, mode="reflect")
    y = np.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            total, weights = 0.0, 0.0
            for di in range(-reach, reach + 1):
                for dj in range(-reach, reach + 1):
                    other = padded[i + reach + di, j + reach + dj]
                    alike = math.exp(-((image[i, j] - other) ** 2) / b_x**2)
                    near = math.exp(-(di**2 + dj**2) / b_p**2)
                    total += alike * near * other
                    weights += alike * near
            y[i, j] = total / weights
    return y


# %% [markdown]
# Without the two outer loops: for each step $(d_i, d_j)$ of the window, shift the whole image by it and weigh all pixels
# at once. The loops that remain go over the window, not over the image.


# %%
def bilateral(image, window, b_x, b_p):
    """The same, all pixels at a time."""
    reach = window // 2
    H, W = image.shape
    padded = np.pad(image, reach, mode="reflect")
    total, weights = np.zeros_like(image), np.zeros_like(image)
    for di, dj in np.ndindex(window, window):
        other = padded[di : di + H, dj : dj + W]  # the image, shifted
        near = ((di - reach) ** 2 + (dj - reach) ** 2) / b_p**2
        k = np.exp(-((image - other) ** 2) / b_x**2 - near)  # (H, W)
        total += k * other
        weights += k
    return total / weights


# %% tags=["slide:A/8-bilateral-filter"]
small = noisy[:12, :14].astype(np.float64)
assert np.allclose(bilateral_loops(small, 5, 0.3, 2.0), bilateral(small, 5, 0.3, 2.0), atol=1e-12)
assert np.allclose(bilateral(small, 5, 0.3, 2.0), mv.vision.bilateral_filter(small, 5, 0.3, 2.0), atol=1e-12)
assert mv.laws.check("bilateral_filter", mv.vision.bilateral_filter).passed

# a worked number: the row 0 0 1, its middle pixel, b_x = b_p = 1
e = math.e
by_hand = e**-2 / (1 + e**-1 + e**-2)  # the left has e^-1 (distance), the middle 1, the right e^-1 e^-1
row = np.array([[0.0, 0.0, 1.0]])
print(f"bilateral {by_hand:.7f}, Gaussian {e**-1 / (1 + 2 * e**-1):.7f}")
assert abs(mv.vision.bilateral_filter(row, 3, 1.0, 1.0)[0, 1] - by_hand) < 1e-12
assert round(by_hand, 7) == 0.0900306
assert abs(mv.vision.gaussian_filter(row, 3, 1.0)[0, 1] - 0.2119416) < 1e-7  # the right pixel counts more

# %% [markdown]
# In the worked number the pixel on the right is as near as the one on the left, but it differs in intensity. So its
# weight is $e^{-2}$ instead of $e^{-1}$, and the middle pixel takes less from it.
#
# Two conventions differ between tools. Most write $e^{-d^2 / (2\sigma^2)}$, so that $b = \sqrt2\, \sigma$. And OpenCV
# uses only the pixels in a disk, and the sum of absolute differences for colours; the library has both as options.
#
# ## Non-local means
#
# Slide `A/9-non-local-means`. In a noisy image a single intensity says little. Non-local means compares the *patches*
# around two pixels. With many pixels to compare, chance evens out, so the search can go far beyond the neighbours:
#
# $$w_{ij} = e^{-\max(d^2(P_i, P_j) - 2\sigma^2,\ 0) / h^2},$$
#
# where $P_i$ is the patch around pixel $i$, $d^2$ the **mean** squared difference over the patch, $\sigma$ the standard
# deviation of the noise and $h$ a width, as $b_x$ was. Two noisy patches of the same thing differ by $2\sigma^2$ on
# average (each has its own noise), so this much is not counted. As before, the weights are divided by their sum. The slide
# multiplies them by the Gaussian of the distance too; Buades et al. do not. In the form without outer loops the same trick
# works: shift the whole image, square the differences, and sum them over each patch.


# %%
def patch_sums(x, patch):
    """The sum over each patch that lies inside: first along the columns, then along the rows."""
    H, W = x.shape[0] - patch + 1, x.shape[1] - patch + 1
    rows = sum(x[i : i + H] for i in range(patch))
    return sum(rows[:, j : j + W] for j in range(patch))


def non_local_means(image, patch, search, h, sigma=0.0):
    """All pixels at a time, one shift after another: (H, W) -> (H, W)."""
    reach, margin = search // 2, patch // 2
    H, W = image.shape
    padded = np.pad(image, reach + margin, mode="reflect")
    mine = padded[reach : reach + H + 2 * margin, reach : reach + W + 2 * margin]
    total, weights = np.zeros_like(image), np.zeros_like(image)
    for di, dj in np.ndindex(search, search):
        other = padded[di : di + mine.shape[0], dj : dj + mine.shape[1]]
        d2 = patch_sums((mine - other) ** 2, patch) / patch**2  # (H, W)
        w = np.exp(-np.maximum(d2 - 2 * sigma**2, 0) / h**2)
        total += w * other[margin : margin + H, margin : margin + W]
        weights += w
    return total / weights


# %% tags=["slide:A/9-non-local-means"]
ours = non_local_means(small, 3, 7, 0.1, 25 / 255)
assert np.allclose(ours, mv.vision.non_local_means(small, 3, 7, 0.1, 25 / 255), atol=1e-12)
assert mv.laws.check("non_local_means", mv.vision.non_local_means).passed

# a worked number: three patches of three pixels, sigma = 0, h = 1
patches = np.array([[0.0, 0, 0], [0, 0, 2], [0, 0, 0]])
d2 = ((patches[0] - patches) ** 2).mean(axis=1)
assert np.allclose(d2, [0, 4 / 3, 0]) and np.allclose(np.exp(-d2), [1, 0.263597, 1], atol=1e-6)
# the same in a row of pixels: around places 1, 3 and 7
row = np.array([[0.0, 0, 0, 0, 2, 0, 0, 0, 0]])
weights = mv.vision.non_local_means_kernel(row, (0, 1), 3, 13, 1.0)[6, 6:]
assert np.allclose(weights[[0, 2, 6]] / weights[0], np.exp(-d2))
# patches of one pixel and a factor for the distance: the bilateral filter
one_pixel = mv.vision.non_local_means(small, 1, 5, 0.3, b_p=2.0)
assert np.allclose(one_pixel, mv.vision.bilateral_filter(small, 5, 0.3, 2.0))

# %% [markdown]
# The first and the third patch are equal, so the third has weight 1 however far away it is. The last two lines are the
# slide's claim that non-local means generalises the bilateral filter: with patches of one pixel they are the same.
#
# That was the **pixelwise** form. In the **patchwise** form (`patchwise=True`) the weights average whole patches, not only
# their middle pixels. So a pixel gets one value from each patch that it lies in, and becomes the mean of these values. The
# comparison below has both.
#
# ## LARK: steering kernels
#
# Slide `A/10-lark`. The third kernel looks at the *gradients* around a place. On an edge they all point across it.
# Stack the $M$ gradients of a window as rows of a matrix $G$ and take its singular value decomposition. It gives two
# directions $v_1$ and $v_2$, and for each a singular value $s$, the length of all gradients in this direction taken
# together. $v_1$, with the larger value $s_1$, points across the edge, $v_2$ along it. From these a matrix $C$ is made:
#
# $$C = \gamma \Big(\rho\, v_1 v_1^T + \tfrac1\rho\, v_2 v_2^T\Big), \qquad \rho = \frac{s_1 + \lambda'}{s_2 + \lambda'},
# \qquad \gamma = \Big(\frac{s_1 s_2 + \lambda''}{M}\Big)^{\alpha}.$$
#
# $\rho$ says how much the kernel stretches, $\gamma$ how small it is. $\lambda'$ and $\lambda''$ keep both away from 0
# where there are no gradients, and $\alpha$ says how much the kernel shrinks where the image changes much. The kernel is
# a Gaussian of the difference $\Delta p_l$ between the positions of the neighbour $l$ and of the pixel, measured with $C$:
#
# $$K_l = \sqrt{\det C_l}\ e^{-\Delta p_l^T\, C_l\, \Delta p_l / (2 h^2)}.$$
#
# Across the edge $C$ is large and the kernel short; along it $C$ is small and the kernel long. $C_l$ belongs to the
# neighbour, not to the pixel that is computed; $h$ is a width. The new pixel is again the weighted mean of its window. One
# matrix, step by step:


# %%
def steering_matrix(G, lam=1.0, lam2=0.01, alpha=0.5):
    """From gradients (M, 2), columns x and y, to a matrix (2, 2)."""
    _, s, v = np.linalg.svd(G, full_matrices=False)  # the rows of v are v_1 and v_2
    rho = (s[0] + lam) / (s[1] + lam)
    gamma = ((s[0] * s[1] + lam2) / len(G)) ** alpha
    return gamma * (rho * np.outer(v[0], v[0]) + np.outer(v[1], v[1]) / rho)


# %% tags=["slide:A/10-lark"]
# a worked matrix: the gradients (3, 0) and (0, 4), with the lambda'' of the authors' program
C = steering_matrix(np.array([[3.0, 0.0], [0.0, 4.0]]), lam2=1e-7)
print("s = 4, 3; rho = 5/4; gamma = sqrt(12 / 2);  C =", np.round(C, 6).tolist())
assert np.allclose(C, np.diag([1.959592, 3.061862]), atol=1e-6)  # y has the larger gradients
assert np.isclose(np.linalg.det(C), 12 / 2)  # gamma squared: rho changes the shape, not the area

# every matrix of an image, against the library
gx, gy = mv.vision.image_gradients(255 * small)
pairs = np.pad(np.stack([gx, gy], axis=-1), ((1, 1), (1, 1), (0, 0)), mode="reflect")
loops = [[steering_matrix(pairs[i : i + 3, j : j + 3].reshape(9, 2)) for j in range(14)] for i in range(12)]
matrices = mv.vision.steering_matrices(gx, gy, 3)
assert np.allclose(loops, matrices)
assert mv.laws.check("steering_matrices", mv.vision.steering_matrices).passed
assert mv.laws.check("steering_kernel_regression", mv.vision.steering_kernel_regression).passed

# the erratum: the kernel moves with positions; adding 100 to all intensities does not change it
gx2, gy2 = mv.vision.image_gradients(255 * small + 100)
assert np.allclose(mv.vision.steering_matrices(gx2, gy2, 3), matrices)

# %% [markdown]
# ### The trap of perfect edges
#
# Without any noise the gradients of a straight edge are exactly parallel, so $s_2 = 0$ and $\gamma =
# (\lambda''/M)^\alpha$. The authors' program has $\lambda'' = 10^{-7}$. This is harmless in photographs, which have
# noise. On a generated image the kernel becomes so wide that it crosses the edge. With 0.01, as in the paper, it does not.
# The cell computes the factor $e^{\dots}$ for two neighbours of a pixel beside an edge, one 5 pixels across and one 5
# pixels along it:

# %% tags=["slide:A/10-lark"]
step = np.zeros((21, 21))
step[:, 11:] = 255
gx, gy = mv.vision.image_gradients(step, 3, 0.5)
weights = {}
for lam2 in (0.01, 1e-7):
    C = mv.vision.steering_matrices(gx, gy, 11, lam2=lam2)[10, 10]
    across, along = np.exp(-25 * np.diag(C) / (2 * 2.4**2))  # the edge is vertical: x goes across it
    weights[lam2] = across
    assert along > 0.99  # the kernel stretches along the edge
    print(f"lambda'' = {lam2:g}: the weight 5 pixels across is {across:.2g}, 5 pixels along {along:.5f}")
assert weights[0.01] < 1e-3 and weights[1e-7] > 0.9

# %% [markdown]
# ## Four kernels at three places
#
# Now we look at all kernels at the same places of the tower (with a little noise, strength 10): on flat ground, on an
# edge and at a corner. Before you look: what should each kernel look like on the sky?

# %%
picture = noisy_part("tower", 10, 0)
places = {"flat ground": (20, 20), "edge": (12, 93), "corner": (105, 15)}
sigma = 10 / 255
gradients = mv.vision.image_gradients(255 * picture)
C = mv.vision.steering_matrices(*gradients, 5)
kernels = {
    "Gaussian": [mv.vision.gaussian_kernel(15, 3.0) for _ in places],
    "bilateral": [mv.vision.bilateral_kernel(picture, at, 15, 3 * sigma, 5.0) for at in places.values()],
    "non-local means": [
        mv.vision.non_local_means_kernel(picture, at, 3, 15, 0.8 * sigma, sigma) for at in places.values()
    ],
    "LARK": [mv.vision.steering_kernel(C, at, 15, 4.0) for at in places.values()],
}
viz.kernels_at(
    picture,
    places,
    kernels,
    title="What each filter weighs at three places",
    caption="Left: the image around the pixel (cross). Bright is a large weight; the number is the largest one. The Gaussian "
    "is the same everywhere; the others are widest on flat ground. On the edge and in the corner the bilateral kernel ends "
    "where the intensity changes, non-local means picks pixels whose surroundings look alike, and LARK follows the edge.",
)

# %%
shares = {name: [float(k.max()) for k in found] for name, found in kernels.items()}
for name, largest in shares.items():
    print(
        f"{name:16} largest weight:",
        ", ".join(f"{w:.3f} ({at})" for w, at in zip(largest, places, strict=True)),
    )
assert len(set(shares["Gaussian"])) == 1
assert all(shares[name][0] < min(shares[name][1:]) for name in shares if name != "Gaussian")

# %% [markdown]
# The weights of a kernel sum to 1, so the wider it is, the smaller is its largest weight. All three that adapt are widest
# on flat ground, where there is nothing to preserve.
#
# ## A rival that learns
#
# A convolutional network has fixed kernels, but three layers of them with ReLUs in between can react to what they see.
# Here is a small one: it gets the noisy image and the noise level (its standard deviation) as two channels. It predicts
# the noise in units of that level, and subtracts it. (In the drawing *pick* takes one of the two channels.)


# %%
class Denoiser(nn.Module):
    """Three convolutions that predict the noise: (B, 2, H, W), image and noise level, to (B, 1, H, W)."""

    def __init__(self, width=24, rng=None):
        super().__init__()
        rng = np.random.default_rng(rng)
        self.first = nn.Conv2d(2, width, 3, padding=1, rng=rng)
        self.middle = nn.Conv2d(width, width, 3, padding=1, rng=rng)
        self.last = nn.Conv2d(width, 1, 3, padding=1, rng=rng)

    def forward(self, x):
        image = x[:, :1]  # (B, 1, H, W)
        level = x[:, 1:]
        features = relu(self.first(x))
        features = relu(self.middle(features))
        return image - level * self.last(features)


viz.architecture(Denoiser(), (1, 2, 32, 32))

# %% [markdown]
# We train it on patches of 32 x 32 pixels from one photograph, with noise of every strength from 5 to 60, and test it on
# the other photograph. The patches are turned, and their contrast changed, at random. The loss is the squared error in
# units of the noise, so that weak noise counts as much as strong noise. The optimiser *Adam* is gradient descent that
# adapts the size of the step to each weight.


# %%
REGIONS = {"tower": np.s_[10:420, 60:380], "flower": np.s_[80:360, 165:450]}  # what is in focus


def with_level(images, level):
    return np.concatenate([images, np.broadcast_to(level, images.shape)], axis=1).astype(np.float32)


def draw_batch(draw, name, batch=8):
    """Clean patches of a photograph, turned and with changed contrast, and a noise level for each: (B, 1, 32, 32)."""
    windows = np.lib.stride_tricks.sliding_window_view(photos[name][REGIONS[name]], (32, 32))
    rows, columns = (draw.integers(0, n, batch) for n in windows.shape[:2])
    clean = np.rot90(windows[rows, columns][:, None], draw.integers(4), axes=(2, 3))
    clean = clean[..., :: draw.choice([-1, 1])]  # perhaps mirrored
    contrast = draw.choice([-1, 1]) * draw.uniform(0.5, 1.5, (batch, 1, 1, 1))
    level = draw.uniform(5, 60, (batch, 1, 1, 1)) / 255
    return (0.5 + contrast * (clean - 0.5)).astype(np.float32), level.astype(np.float32)


# %%
def train_on(name, steps=450):
    """A Denoiser trained on patches of one photograph."""
    draw = np.random.default_rng(0)
    model = Denoiser(rng=0)
    optimizer = mv.optim.Adam(model.parameters(), 5e-3, schedule=mv.optim.cosine(steps, 20))
    for _ in range(steps):
        clean, level = draw_batch(draw, name)
        noisy = clean + level * draw.standard_normal(clean.shape)
        loss = mean(((model(with_level(noisy, level)) - clean) / level) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


learned = {"tower": train_on("flower"), "flower": train_on("tower")}  # by the photograph they are tested on

# %% [markdown]
# ## The comparison
#
# Each filter has settings, and a good choice matters more than the kind of filter. To choose them on the image that we
# measure on would be cheating. So they are chosen, for each noise strength, on the *other* photograph, from a few
# candidates. LARK needs gradients, and those of a noisy image are noisy. As in the paper, we filter three times and take
# the gradients from the previous result.


# %%
def lark(noisy, h, rounds=3):
    gradients = mv.vision.image_gradients(255 * noisy)
    for _ in range(rounds):
        matrices = mv.vision.steering_matrices(*gradients, 5)
        smooth = mv.vision.steering_kernel_regression(255 * noisy, matrices, 11, h)
        gradients = mv.vision.image_gradients(smooth, 5, 0.7)
    return smooth / 255


V = mv.vision
CANDIDATES = {
    "Gaussian": [lambda y, s, b=b: V.gaussian_filter(y, 9, b) for b in (0.6, 0.8, 1.0, 1.3, 1.6, 2.0)],
    "bilateral": [
        lambda y, s, b=b, r=r: V.bilateral_filter(y, 9, b * s, r) for b in (2, 3, 4, 6) for r in (1.5, 2.5)
    ],
    "NLM, pixelwise": [
        lambda y, s, p=p, h=h: V.non_local_means(y, p, 21, h * s, s) for p in (3, 5) for h in (0.4, 0.6, 0.8)
    ],
    "NLM, patchwise": [
        lambda y, s, p=p, h=h: V.non_local_means(y, p, 21, h * s, s, patchwise=True)
        for p in (3, 5)
        for h in (0.4, 0.6, 0.8)
    ],
    "LARK": [lambda y, s, h=h: lark(y, h) for h in (1.0, 1.5, 2.0, 2.5, 3.0)],
}


# %%
def chosen(method, other, strength):
    """The candidate that is best on the other photograph."""
    noisy = noisy_part(other, strength, seed=100)
    return max(CANDIDATES[method], key=lambda f: psnr(f(noisy, strength / 255), parts[other]))


def by_network(name):
    return lambda y, s: learned[name](with_level(y[None, None], s)).numpy()[0, 0]


results = {}  # (photograph, strength) -> method -> PSNR for each noise seed
pictures = {}
for name, other in (("tower", "flower"), ("flower", "tower")):
    for strength in STRENGTHS:
        methods = {method: chosen(method, other, strength) for method in CANDIDATES} | {
            "CNN": by_network(name)
        }
        row = results[name, strength] = {"noisy": []} | {method: [] for method in methods}
        for seed in range(3):
            noisy = noisy_part(name, strength, seed)
            row["noisy"].append(psnr(noisy, parts[name]))
            for method, denoise in methods.items():
                pictures[name, strength, method] = denoise(noisy, strength / 255)
                row[method].append(psnr(pictures[name, strength, method], parts[name]))

# %%
methods = list(results["tower", 10])
print(" " * 16 + "".join(f"{name} {s}".rjust(15) for name, s in results))
for method in methods:
    found = [results[key][method] for key in results]
    print(f"{method:16}" + "".join(f"{np.mean(v):8.2f} ± {np.std(v):.2f}".rjust(15) for v in found))
assert max(np.std(v) for row in results.values() for v in row.values()) < 0.2  # of the three noise seeds

gain = {
    key: [np.mean(row[m]) - np.mean(row["Gaussian"]) for m in methods[2:]] for key, row in results.items()
}
viz.heatmap(
    np.array(list(gain.values())).T,
    "photograph and strength of the noise",
    "filter",
    x_names=[f"{name} {s}" for name, s in gain],
    signed=False,
    y_names=methods[2:],
    bar_label="dB more than the Gaussian filter",
    title="What adapting is worth",
    caption="PSNR above that of the Gaussian filter, mean of three noise seeds. Compare the rows: non-local means gains most "
    "in nearly all columns. Compare the columns: on the flower with noise 50 nothing gains more than 0.2 dB.",
)

# %%
part = np.s_[20:84, 40:104]
shown = {"clean": parts["tower"], "noise 25": noisy_part("tower", 25, 2)}
shown |= {method: pictures["tower", 25, method] for method in methods[1:]}
viz.images(
    [image[part] for image in shown.values()],
    titles=[f"{m}, {psnr(x, parts['tower']):.1f} dB" if m != "clean" else m for m, x in shown.items()],
    columns=4,
    size=2.3,
    vmin=0,
    vmax=1,
    title="A piece of the tower, from noise of strength 25",
    caption="The decibels are for the whole part of 128 x 128 pixels. The Gaussian filter blurs the roof and leaves noise "
    "in the sky. The bilateral filter keeps edges and leaves single bright and dark pixels. Non-local means restores "
    "the repeated tiles and smooths the sky. LARK draws strokes, also where there is no edge. The CNN leaves soft spots in "
    "the sky.",
)

# %% [markdown]
# ### What the sources claim, and what we measure
#
# **Slide `A/7-kernels-that-adapt`: adaptive kernels remove noise better.** On the tower all of them do, at every
# strength: non-local means by 2 to 3.5 dB. On the flower they do at strengths 10 and 25. At strength 50 they do not, or
# by no more than 0.2 dB, which is about the spread over noise seeds. There the intensities say so little that weights
# computed from them are mostly noise too.

# %%
best_of_all = {key: max(methods[1:], key=lambda m: np.mean(row[m])) for key, row in results.items()}
print("best:", {f"{name} {s}": method for (name, s), method in best_of_all.items()})
on_the_tower = [gain["tower", s] for s in STRENGTHS]
assert all(g > 0.2 for row in on_the_tower for g in row[:4])  # every filter that adapts beats the Gaussian
assert all(row[2] > 1.9 for row in on_the_tower)  # non-local means, patchwise
assert max(gain["flower", 50]) < 0.4  # almost nothing is left
assert best_of_all["tower", 25].startswith("NLM")
viz.dots(
    {method: results["flower", 50][method] for method in methods[1:]},
    "PSNR, dB",
    title="The flower with noise 50: three noise seeds",
    caption="Each dot is one draw of the noise, coloured by its seed; each bar is the mean of three. All bars lie "
    "within 0.2 dB, and the dots of one filter lie up to 0.3 dB apart.",
)

# %% [markdown]
# **Buades et al.: patches are better than single pixels.** Yes on the tower, whose tiles and windows repeat: by 0.7 to 2
# dB against the bilateral filter. On the flower by 0.5 to 1 dB at strengths 10 and 25, and not at 50. Its petals look
# alike but have different sizes and directions, so few patches match.
#
# **Takeda et al.: steering kernels are better than the bilateral filter.** Here only on the flower at strength 25, by
# half a decibel. Elsewhere LARK is equal or worse, by up to 1 dB at strength 10. The details of these parts are two or
# three pixels wide, and the window of gradients is five. The paper's images are larger and smoother, and the settings
# were tuned for each.
#
# **And learning?** The small network was trained for a few seconds on *one* other photograph. It is about as good as the
# bilateral filter, within 0.3 dB, but for the tower at strength 10, where it is worse by 1.4 dB: a network that was
# trained on a flower has seen no tiles. Published networks train on hundreds of photographs and are far better than all filters here;
# this chapter does not measure that.
#
# ## From filters to attention
#
# All four filters have one form: $y_i = \sum_j a_{ij}\, x_j$ with weights that are not negative and sum to 1. Attention
# has this form too: each place $i$ has a vector $q_i$, its *query*, and each place $j$ a vector $k_j$, its *key*, both with
# $d$ numbers. Then $a_{ij} = \mathrm{softmax}_j(q_i \cdot k_j / \sqrt d)$, where softmax takes the exponential of each
# score and divides by their sum. [Chapter 05](05_attention.ipynb) builds it. Is the bilateral filter attention? Write $f_i = (x_i / b_x,\ p_i / b_p)$ for the intensity and the position of a
# pixel, each divided by its width. Then
#
# $$\frac{k_{ij}}{\sum_j k_{ij}} = \mathrm{softmax}_j\big(-\lVert f_i - f_j \rVert^2\big), \qquad
# -\lVert f_i - f_j \rVert^2 = 2 f_i \cdot f_j - \lVert f_j \rVert^2 - \lVert f_i \rVert^2.$$
#
# The last term is the same for all $j$, so softmax cancels it. What is left is the product of a query $(2 f_i, 1)$ and a
# key $(f_j, -\lVert f_j \rVert^2)$. So the bilateral filter **is** attention, with a mask that says which pixels are in
# the window. (Because attention divides by $\sqrt d$, the code multiplies the queries by it.)


# %%
def bilateral_attention(image, window, b_x, b_p):
    """The bilateral filter as attention: (H, W) -> (H, W); beyond the border there is nothing."""
    H, W = image.shape
    place = np.stack(np.indices((H, W)), axis=-1).reshape(H * W, 2)
    pixels = image.reshape(H * W, 1)
    f = np.concatenate([pixels / b_x, place / b_p], axis=1)  # (N, 3)
    queries = np.concatenate([2 * f, np.ones((H * W, 1))], axis=1)  # (N, 4)
    keys = np.concatenate([f, -(f**2).sum(axis=1, keepdims=True)], axis=1)
    mask = (abs(place[:, None] - place) <= window // 2).all(axis=-1)  # (N, N), True = in the window
    scale = math.sqrt(queries.shape[1])  # attention divides by it
    return mv.ops.scaled_dot_product_attention(scale * queries, keys, pixels, mask).reshape(H, W)


small = noisy_part("tower", 25, 0)[:20, :24].astype(np.float64)
attended = bilateral_attention(small, 7, 0.3, 2.0)
filtered = mv.vision.bilateral_filter(small, 7, 0.3, 2.0)
inner = np.s_[3:-3, 3:-3]  # away from the border, which the filter mirrors
print("largest difference:", abs(attended - filtered)[inner].max())
assert np.allclose(attended[inner], filtered[inner], rtol=0, atol=1e-12)

# %% [markdown]
# Only the last digits of float64 differ. So what does a transformer add? Its places have vectors of features $z_i$ instead
# of intensities, and it multiplies them by learned matrices $W$:
#
# | | bilateral filter | attention |
# |---|---|---|
# | what is compared | intensity and position | learned projections of features, $W_Q z_i$ and $W_K z_j$ |
# | symmetric | yes, $k_{ij} = k_{ji}$ | no, queries and keys differ |
# | where | a window of some pixels | everywhere |
# | what is averaged | the pixels | learned projections $W_V z_j$ |
# | how often | once | in many heads and layers, each on what the last one made |
#
# To see the difference, we put the four kernels beside the heads of a trained model. It is a vision transformer (ViT) that
# reads digits at any place of an image, and comes with the library ([chapter 08](08_vit.ipynb)). It is a stack of
# *blocks*, and each block computes attention several times side by side, in its *heads*. Its places, called *tokens*, are
# patches of $2 \times 2$ pixels. So the filters get the digit at the same resolution, $8 \times 8$. The query is the
# patch with the most ink.

# %%
model = mv.load("vit-scattered-digits")
digits = mv.data.digits.load("held-out")[0][:1]
digit = mv.data.transforms.RandomCrop(16, padding=8)(digits, np.random.default_rng(3))  # (1, 1, 16, 16)
coarse = digit[0, 0].reshape(8, 2, 8, 2).mean(axis=(1, 3))  # (8, 8)
query = tuple(int(i) for i in np.unravel_index(coarse.argmax(), coarse.shape))


def on_the_image(kernel):
    """The part of a kernel of 15 x 15 that lies on the image."""
    top, left = 7 - query[0], 7 - query[1]
    return kernel[top : top + 8, left : left + 8]


gradients = mv.vision.image_gradients(255 * coarse, 3)
four = {
    "Gaussian": mv.vision.gaussian_kernel(15, 3.0),
    "bilateral": mv.vision.bilateral_kernel(coarse, query, 15, 0.3, 5.0),
    "NLM": mv.vision.non_local_means_kernel(coarse, query, 3, 15, 0.3),
    "LARK": mv.vision.steering_kernel(mv.vision.steering_matrices(*gradients, 3), query, 15, 8.0),
}

# %%
token = 1 + query[0] * 8 + query[1]  # token 0 is the class token
attention = model.attention_maps(digit)  # for each block (1, h, 65, 65)
heads = {
    f"block {b + 1}, head {h + 1}": attention[b][0, h, token, 1:].reshape(8, 8)
    for b, h in ((0, 0), (0, 1), (1, 1), (2, 0), (3, 0))
}
maps = [on_the_image(kernel) for kernel in four.values()] + list(heads.values())
viz.attention_maps(
    np.stack(maps),
    image=digit[0],
    titles=[*four, *heads],
    query=query,
    columns=5,
    size=1.7,
    title="Four kernels and five heads, for the same query",
    caption="The digit with the query (cross), then the weights of all patches; each map has its own scale. Above: the "
    "kernels of this chapter have their largest weights at the query and fall from there. Below: each head has learned a "
    "pattern of its own, and most of them look elsewhere. The model was trained to name digits, not to remove noise.",
)

# %%
rows, columns = np.indices((8, 8))
distance = np.hypot(rows - query[0], columns - query[1])
ink = coarse > 0.1
looks = {}
for name, weights in zip([*four, *heads], maps, strict=True):
    share = weights / weights.sum()
    looks[name] = (float((share * distance).sum()), float(share[ink].sum()))
    print(f"{name:16} mean distance {looks[name][0]:.1f} patches, {looks[name][1]:.0%} on ink")
far = [name for name in heads if looks[name][0] > looks["Gaussian"][0]]
on_ink = [name for name in heads if looks[name][1] > 0.8]
assert far and on_ink  # some heads look further than the Gaussian, some at ink alone


# %% [markdown]
# The heads of blocks 1 and 4 look further away than the Gaussian kernel, by about one patch, and mostly at places without
# ink. Those of blocks 2 and 3 look at ink, as the bilateral filter does; that of block 3 looks at another part of the
# stroke. Nobody wrote down what a head should compare: it came from training.

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its digits,
# the input arrays stay unchanged, and nothing is printed. Beyond the border everything is mirrored without repeating the
# edge pixel, as `np.pad(..., mode="reflect")` does.

# %% [markdown]
# ### Exercise 1: the bilateral filter, also for colour
# Write `my_bilateral(image, window, b_x, b_p)` for images $(H, W)$ and $(H, W, C)$. The difference of two colours is the
# norm over the channels, and all channels of a pixel have one weight. `window` is odd; `b_x` and `b_p` may be infinite.
# Hint: make a grey image $(H, W, 1)$ first.


# %% tags=["exercise:bilateral"]
def my_bilateral(image, window, b_x, b_p): ...  # your lines here


# %% tags=["check:bilateral"]
passed = mv.laws.check("bilateral_filter", my_bilateral).passed

# %% [markdown] tags=["solution:bilateral"]
# <details><summary>Solution</summary>
#
# ```python
# def my_bilateral(image, window, b_x, b_p):
#     reach = window // 2
#     H, W = image.shape[:2]
#     pixels = image.reshape(H, W, -1)
#     padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
#     total = 0
#     weights = 0
#     for i, j in np.ndindex(window, window):
#         other = padded[i : i + H, j : j + W]
#         alike = ((other - pixels) ** 2).sum(axis=-1, keepdims=True) / b_x**2
#         near = ((i - reach) ** 2 + (j - reach) ** 2) / b_p**2
#         k = np.exp(-alike - near)
#         total = total + k * other
#         weights = weights + k
#     return (total / weights).reshape(image.shape)
# ```
#
# With weights for each channel alone, an edge in red would not stop green, and the edge would get a coloured seam.
# </details>

# %% [markdown]
# ### Exercise 2: non-local means with all its options
# Write `my_means(image, patch, search, h, sigma=0.0, b_p=math.inf)` for grey images, in the pixelwise form. `patch` and
# `search` are the odd sides of the patch and of the search window. The patch distance is the *mean* of the squared
# differences, $2\sigma^2$ is subtracted from it but never below 0, and a finite `b_p` multiplies each weight by
# $e^{-\lVert p_i - p_j \rVert^2 / b_p^2}$. A pixel's own weight is 1. Mirror the *image* once, far enough for the search
# window and the patches in it, and cut all patches from the mirrored image.


# %% tags=["exercise:means"]
def my_means(image, patch, search, h, sigma=0.0, b_p=math.inf): ...  # your lines here


# %% tags=["check:means"]
passed = mv.laws.check("non_local_means", my_means).passed

# %% [markdown] tags=["solution:means"]
# <details><summary>Solution</summary>
#
# ```python
# def my_means(image, patch, search, h, sigma=0.0, b_p=math.inf):
#     reach, margin = search // 2, patch // 2
#     H, W = image.shape
#     padded = np.pad(image, reach + margin, mode="reflect")
#     patches = np.lib.stride_tricks.sliding_window_view(padded, (patch, patch))
#     mine = patches[reach : reach + H, reach : reach + W]
#     total = 0
#     weights = 0
#     for i, j in np.ndindex(search, search):
#         other = patches[i : i + H, j : j + W]
#         d2 = ((other - mine) ** 2).mean(axis=(2, 3))
#         near = ((i - reach) ** 2 + (j - reach) ** 2) / b_p**2
#         w = np.exp(-np.maximum(d2 - 2 * sigma**2, 0) / h**2 - near)
#         total = total + w * other[:, :, margin, margin]
#         weights = weights + w
#     return total / weights
# ```
#
# Without the maximum the subtraction would multiply all weights by the same number, and the division would cancel it.
# </details>

# %% [markdown]
# ### Exercise 3: steering matrices of a whole image
# Write `my_steering(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5)`: from gradients $(H, W)$ to matrices $(H, W, 2, 2)$,
# in the order (x, y), with the formulas above and $M$ = window². Hint: `np.linalg.svd` takes a whole stack of matrices
# $(H, W, M, 2)$, and `np.lib.stride_tricks.sliding_window_view` makes one.


# %% tags=["exercise:steering"]
def my_steering(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5): ...  # your lines here


# %% tags=["check:steering"]
passed = mv.laws.check("steering_matrices", my_steering).passed

# %% [markdown] tags=["solution:steering"]
# <details><summary>Solution</summary>
#
# ```python
# def my_steering(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
#     padded = [np.pad(g, window // 2, mode="reflect") for g in (gx, gy)]
#     views = [np.lib.stride_tricks.sliding_window_view(g, (window, window)) for g in padded]
#     G = np.stack([view.reshape(*gx.shape, window**2) for view in views], axis=-1)  # (H, W, M, 2)
#     _, s, v = np.linalg.svd(G, full_matrices=False)
#     rho = (s[..., 0] + lam) / (s[..., 1] + lam)
#     gamma = ((s[..., 0] * s[..., 1] + lam2) / window**2) ** alpha
#     across = v[..., 0, :, None] * v[..., 0, None, :]
#     along = v[..., 1, :, None] * v[..., 1, None, :]
#     return (gamma * rho)[..., None, None] * across + (gamma / rho)[..., None, None] * along
# ```
#
# The sign of a singular vector is arbitrary, and does not matter: it stands twice in each product.
# </details>

# %% [markdown]
# ### Exercise 4: queries and keys of a filter
# Write `my_queries_and_keys(image, b_x, b_p)` for a grey image: it returns queries and keys, each $(HW, d)$ with pixels
# in reading order and any $d$ you like, such that the softmax over $j$ of $q_i \cdot k_j$ (without $\sqrt d$) is the weight
# of the bilateral filter whose window is the whole image.


# %% tags=["exercise:attention"]
def my_queries_and_keys(image, b_x, b_p): ...  # your lines here


# %% tags=["check:attention"]
trial = np.random.default_rng(1).random((4, 5))
place = np.stack(np.indices(trial.shape), axis=-1).reshape(-1, 2)
differences = trial.reshape(-1, 1) - trial.reshape(-1), np.linalg.norm(place[:, None] - place, axis=-1)


def expected(b_x, b_p):
    k = np.exp(-((differences[0] / b_x) ** 2) - (differences[1] / b_p) ** 2)
    return k / k.sum(axis=1, keepdims=True)


def got(b_x, b_p):
    queries, keys = my_queries_and_keys(trial, b_x, b_p)
    return mv.ops.softmax(queries @ keys.T)


intensity = "-(a - b)² = 2ab - b² - a². Which term is the same for all keys j?"
position = "Pixel n of W columns stands in row n // W and column n % W. Divide both by b_p."
both = "Put the intensity divided by b_x and both positions divided by b_p into one vector f."
passed = claims(
    "the bilateral filter as attention",
    ("a wide b_p leaves the intensities", lambda: got(0.5, 1e6), lambda: expected(0.5, 1e6), intensity),
    ("a wide b_x leaves the positions", lambda: got(1e6, 2.0), lambda: expected(1e6, 2.0), position),
    ("with both", lambda: got(0.4, 1.5), lambda: expected(0.4, 1.5), both),
).passed

# %% [markdown] tags=["solution:attention"]
# <details><summary>Solution</summary>
#
# ```python
# def my_queries_and_keys(image, b_x, b_p):
#     rows, columns = np.indices(image.shape)
#     f = np.stack([image / b_x, rows / b_p, columns / b_p], axis=-1).reshape(-1, 3)
#     queries = np.concatenate([2 * f, np.ones((len(f), 1))], axis=1)
#     keys = np.concatenate([f, -(f**2).sum(axis=1, keepdims=True)], axis=1)
#     return queries, keys
# ```
#
# $-\lVert f_i \rVert^2$ is missing on purpose: it is the same for all keys of query $i$, and softmax cancels it.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:very-wide-intensity"]
# **1. What does the bilateral filter become if its width in intensity, $b_x$, is very large?**
#
# <details><summary>Answer</summary>
#
# The Gaussian filter. All intensities then count as alike, the first factor is 1, and only the distance is left.
#
# ```python
# wide = mv.vision.bilateral_filter(small, 5, 1e6, 2.0)
# assert np.allclose(wide, mv.vision.gaussian_filter(small, 5, 2.0), atol=1e-9)
# ```
# </details>

# %% [markdown] tags=["question:very-narrow-intensity"]
# **2. And what does it become if $b_x$ is very small?**
#
# <details><summary>Answer</summary>
#
# It changes nothing: only pixels with exactly the same intensity count, so each pixel keeps its own. A filter that
# adapts too much does not remove noise.
#
# ```python
# narrow = mv.vision.bilateral_filter(small, 5, 1e-6, 2.0)
# assert np.allclose(narrow, small, atol=1e-9)
# ```
# </details>

# %% [markdown] tags=["question:brighter-photo"]
# **3. What happens to the weights of the three kernels if 0.1 is added to every pixel?**
#
# <details><summary>Answer</summary>
#
# Nothing. They compare intensities, patches and gradients, and all of these are differences. So the result is the
# old one plus 0.1.
#
# ```python
# bilateral = lambda y: V.bilateral_filter(y, 5, 0.3, 2.0)
# means = lambda y: V.non_local_means(y, 3, 7, 0.1, 25 / 255)
# for f in (bilateral, means, lambda y: lark(y, 2.0)):
#     np.testing.assert_allclose(f(small + 0.1), f(small) + 0.1, atol=1e-6)
# ```
# </details>

# %% [markdown] tags=["question:single-pixel-patches"]
# **4. Why does non-local means compare patches, and not pixels, when it looks so far away?**
#
# <details><summary>Answer</summary>
#
# Two noisy pixels of the same thing differ by chance, and among many candidates some unlike ones look alike. The
# mean over a patch evens the noise out: the squared difference of two noisy patches of 25 pixels spreads a fifth as
# much as that of two pixels.
#
# ```python
# pairs_of = np.random.default_rng(1).standard_normal((2, 4000, 25)) * 25 / 255
# squares = (pairs_of[0] - pairs_of[1]) ** 2
# assert 4.5 < squares[:, 0].std() / squares.mean(axis=1).std() < 5.5
# ```
# </details>

# %% [markdown] tags=["question:turned-edge"]
# **5. What happens to the steering matrix if the image is turned by 90 degrees?**
#
# <details><summary>Answer</summary>
#
# Its two diagonal numbers change places: what was across the edge is along it now. The determinant, and with it the
# area of the kernel, stays.
#
# ```python
# G = np.array([[3.0, 0.0], [0.0, 4.0]])
# C_here, C_turned = steering_matrix(G), steering_matrix(G[:, ::-1])
# assert np.allclose(np.diag(C_turned), np.diag(C_here)[::-1])
# assert np.isclose(np.linalg.det(C_turned), np.linalg.det(C_here))
# ```
# </details>

# %% [markdown] tags=["question:own-photograph"]
# **6. Why is it cheating to choose a filter's width on the image that one measures?**
#
# <details><summary>Answer</summary>
#
# The best of several candidates on one image is best there also by chance. Take twenty filters that are equally good:
# on each image their scores differ by chance alone, with a standard deviation of 1. The best of them looks better by
# 1.9 on the image on which it was chosen, and by 0 on the next one.
#
# ```python
# scores = np.random.default_rng(0).standard_normal((2, 5000, 20))  # two images, 5000 times, twenty filters
# best = scores[0].argmax(axis=1)
# here, elsewhere = scores[:, np.arange(5000), best].mean(axis=1)
# assert 1.8 < here < 1.95 and abs(elsewhere) < 0.05
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can say why one kernel for the whole image is a compromise between flat ground and edges, and measure it.
# - You can write three kernels that adapt: the bilateral filter compares two intensities, non-local means two patches,
#   LARK two positions with the gradients around them. All three sum weights to 1, and leave an even image as it is.
# - You can compare them fairly, with settings chosen on other images than those that are measured. What they gain depends
#   on the image and the noise: up to 3.5 dB where patterns repeat, nothing where noise drowns the comparison.
# - You can write the bilateral filter as attention with fixed queries and keys. Transformers learn what to compare, and
#   where.
#
# Next: [05. Attention](05_attention.ipynb), where the comparison is learned.
