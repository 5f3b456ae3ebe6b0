"""U-Net: exact counts and sizes, tiles without a seam, the grid of its poolings, its options, starting values, learning.

Not here: its joint and its border weights (tests/vision), the recipe (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import UNet

RNG = np.random.default_rng(44)
SMALL = {"widths": (3, 4, 5), "dropout": 0.0}  # two poolings: logits are 40 pixels smaller than the image
MILESIAL = {"channels": 3, "padded": True, "norm": "batch", "dropout": 0.0}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda: models.unet(), 31_030_658),
        (lambda: models.unet(21, channels=3), 31_033_045),
        (lambda: UNet(**MILESIAL), 31_037_698),
        (lambda: UNet((64, 128, 256, 512, 512), bilinear=True, **MILESIAL), 17_263_042),
    ],
)
def test_exact_number_of_parameters(make, count):
    with nn.init.skip_init():
        model = make()
    assert sum(p.size for p in model.parameters()) == count


def test_it_has_the_23_convolutional_layers_of_the_paper():
    with nn.init.skip_init():
        model = models.unet()
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("Conv2d") + kinds.count("ConvTranspose2d") == 23
    assert kinds.count("ConvTranspose2d") == 4


def test_sizes_of_the_paper():
    with nn.init.skip_init():
        model = models.unet()
    assert {n: model.output_size(n) for n in (188, 204, 572)} == {188: 4, 204: 20, 572: 388}
    for n in (0, 172, 187, 190, 571):
        with pytest.raises(
            ValueError, match=rf"^UNet: height and width must be 188 or more by steps of 16, .* got {n}$"
        ):
            model.output_size(n)
    assert all(model.output_size(n) == n - 184 for n in range(188, 700, 16))


def test_every_map_has_the_size_of_figure_1():
    """The widths are small, so that an image of 572 pixels goes through quickly."""
    model = UNet((1, 1, 1, 1, 1)).eval()
    with mv.no_grad(), nn.looking(model) as seen:
        logits = model(images(1, 1, 572, 572))
    sizes = {name: maps.shape[2] for name, maps in seen.items()}
    down = {"down0": 568, "down1": 280, "down2": 136, "down3": 64, "down4": 28}
    assert sizes == {**down, "up3": 52, "up2": 100, "up1": 196, "up0": 388}
    assert logits.shape == (1, 2, 388, 388)
    crops = [(sizes[f"down{i}"] - 2 * (28, 52, 100, 196)[3 - i]) // 2 for i in (3, 2, 1, 0)]
    assert crops == [4, 16, 40, 88]


@pytest.mark.parametrize("norm", [None, "batch", "group"])
@pytest.mark.parametrize("bilinear", [False, True])
def test_with_padding_the_logits_have_the_size_of_the_image(norm, bilinear):
    model = UNet(**SMALL, padded=True, norm=norm, bilinear=bilinear, num_classes=3)
    assert model(images(2, 1, 8, 12)).shape == (2, 3, 8, 12)
    with pytest.raises(ValueError, match="UNet: height and width must be 4 or more by steps of 4, .* got 10"):
        model(images(1, 1, 8, 10))


def test_overlapping_tiles_give_the_same_logits_if_they_are_shifted_by_the_grid():
    model = UNet(**SMALL, rng=3).eval()
    x = images(1, 1, 72, 72)
    with mv.no_grad():
        whole = model(x).numpy()  # (1, 2, 32, 32)
        for shift in (4, 8):
            tile = model(x[:, :, shift : shift + 60, :60]).numpy()  # (1, 2, 20, 20)
            np.testing.assert_allclose(tile, whole[:, :, shift : shift + 20, :20], atol=1e-5)
        tile = model(x[:, :, 1:61, :60]).numpy()  # not by one pixel: other pixels are pooled together
    assert np.abs(tile - whole[:, :, 1:21, :20]).max() > 1e-2


def test_with_padding_there_is_a_seam():
    model = UNet(**SMALL, padded=True, rng=3).eval()
    x = images(1, 1, 72, 72)
    with mv.no_grad():
        difference = np.abs(model(x).numpy()[:, :, 4:64, :60] - model(x[:, :, 4:64, :60]).numpy())
    assert difference[:, :, :, :20].max() > 1e-2  # at the upper border
    assert difference[:, :, 24:36, :36].max() < 1e-5
    with pytest.raises(ValueError, match="UNet: predict_tiles is for a network without padding"):
        model.predict_tiles(x[0], 60)


@pytest.mark.parametrize("tile", [44, 52, 60])
def test_predicting_by_tiles_is_the_whole_mirrored_image_at_once(tile):
    model = UNet(**SMALL, rng=3).eval()
    x = images(1, 30, 26)
    got = model.predict_tiles(x, tile).numpy()
    assert got.shape == (2, 30, 26)
    # its logits are (2, 32, 28)
    mirrored = np.pad(x, ((0, 0), (20, 22), (20, 22)), mode="reflect")  # (1, 72, 68)
    with mv.no_grad():
        whole = model(mirrored[None]).numpy()[0, :, :30, :26]
    np.testing.assert_allclose(got, whole, atol=1e-5)


def test_predicting_by_tiles_refuses_what_does_not_fit():
    model = UNet(**SMALL)
    for x, tile, message in (
        (images(1, 1, 30, 26), 60, r"one image \(C, H, W\)"),
        (images(1, 30, 26), 61, "by steps of 4"),
        (images(1, 30, 26), 60.0, "UNet: a size must be a whole number of pixels, got 60.0"),
        (images(1, 0, 26), 60, r"with pixels \(image: \(1, 0, 26\)\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict_tiles(x, tile)
    deep = UNet((1, 1, 1, 1))  # its smallest image gives fewer pixels than the grid has
    assert deep.output_size(92) == 4
    with pytest.raises(ValueError, match="needs a tile with 8 pixels of logits; 92 has 4"):
        deep.predict_tiles(images(1, 30, 26), 92)


def test_without_skips_the_way_up_does_not_see_the_way_down():
    x = images(1, 1, 8, 8)
    for skips in (True, False):
        model = UNet(**SMALL, padded=True, skips=skips, rng=2).eval()
        with mv.no_grad(), nn.looking(model) as seen:
            model(x)
        top = mv.Tensor(seen["down0"], requires_grad=True)
        below = mv.Tensor(seen["up1"])
        ops.sum(model.up[-1](below, top)).backward()
        assert (top.grad is not None and bool(top.grad.any())) == skips


def test_starting_values():
    model = UNet((32, 64))
    second = model.down[1].layers[2].weight.data
    assert np.std(second) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
    assert np.std(model.up[0].enlarge.weight.data) == pytest.approx((2 / 64) ** 0.5, rel=0.03)
    assert not any(
        m.bias.data.any() for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    )
    again = UNet((32, 64))
    np.testing.assert_array_equal(again.up[0].enlarge.weight.data, model.up[0].enlarge.weight.data)


@pytest.mark.parametrize("norm", [None, "group"])
def test_the_same_logits_and_gradients_on_a_device_and_in_half(norm, device):
    found = []
    x = images(2, 1, 8, 8)
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = UNet(**SMALL, padded=True, norm=norm).to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype
        ops.mean(y * mv.to_device(np.array([1.0, -2.0], dtype)[:, None, None], where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for got, tolerance in zip(found[1:], (1e-5, 3e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


def test_it_learns_and_is_saved(tmp_path):
    model = UNet(**SMALL, padded=True, norm="batch", rng=0)
    x = images(2, 1, 8, 8)
    target = (x[:, 0] > 0).astype(int)
    optimiser = optim.AdamW(model, lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.3
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: UNet((8,)), "UNet: widths must have at least two levels"),
        (lambda: UNet((8, 0)), "UNet: widths must be"),
        (
            lambda: UNet((8, 8), norm="layer"),
            "UNet: norm must be None or one of batch, frozen, group, got 'layer'",
        ),
        (lambda: UNet((8, 8))(images(20, 20)), r"UNet: images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
