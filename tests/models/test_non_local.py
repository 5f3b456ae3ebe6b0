"""Non-local blocks and a ResNet with them: published counts, equal to the plain operation, films, and that they learn.

Not here: the operation by itself (tests/laws), the training recipe (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim, vision
from minivis.models import NonLocalBlock, NonLocalResNet, ResNet
from minivis.vision import non_local

RNG = np.random.default_rng(4)
SIZES = {
    "depths": (1, 2),
    "kind": "basic",
    "widths": (8, 16),
    "stem_width": 8,
    "norm": "group",
    "patch_stem": True,
}


def normal(*shape):
    return RNG.standard_normal(shape)


def count(model):
    return sum(p.size for p in model.parameters())


def small(**options):
    return NonLocalResNet(ResNet(**SIZES, num_classes=3), (1,), **{"std": 0.3, "norm": False, **options})


def stirred(model):
    """All parameters random, so that nothing is the identity."""
    for p in model.parameters():
        p.data = p.data + (0.3 * RNG.standard_normal(p.shape)).astype(p.dtype)
    return model


@pytest.mark.parametrize("channels, parameters", [(256, 132_224), (512, 526_592), (1024, 2_101_760)])
def test_a_block_has_its_exact_number_of_parameters(channels, parameters):
    with nn.init.skip_init():
        assert count(NonLocalBlock(channels)) == parameters


def test_five_blocks_in_resnet50_are_seven_million_parameters_more():
    with nn.init.skip_init():
        model = models.non_local_resnet50()
        plain = models.resnet50()
    assert count(model) - count(plain) == 7_358_464 and count(model) == 32_915_496
    wide = [block.g.weight.shape[1] for block in model.relations if block]
    assert [i for i, block in enumerate(model.relations) if block] == [4, 6, 8, 10, 12]
    assert wide == [512] * 2 + [1024] * 3


@pytest.mark.parametrize("form", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
@pytest.mark.parametrize("shape", [(2, 6, 4, 6), (2, 6, 3, 2, 4)])
def test_a_block_is_the_plain_operation_with_its_weights(form, shape):
    width = 6 if form == "gaussian" else 4
    block = NonLocalBlock(6, width, form=form, pool=2, norm=False, rng=1).to("float64")
    for name, p in block.named_parameters():
        p.data = np.zeros(p.shape) if name.endswith("bias") else normal(*p.shape)
    w = {
        n: getattr(block, n).weight.data[:, :, 0, 0]
        for n in ("theta", "phi", "g", "out")
        if getattr(block, n)
    }
    x = normal(*shape)
    w_f = None if block.relation is None else block.relation.data
    expected = non_local(x, w.get("theta"), w.get("phi"), w["g"], w["out"], form, 2, w_f=w_f)
    np.testing.assert_allclose(block(x).numpy(), expected, atol=1e-10)


def test_concatenation_by_loops():
    x = normal(1, 2, 1, 3)
    w_f = normal(4)
    w = [normal(2, 2) for _ in range(4)]
    theta, phi, g = (x[0, :, 0].T @ m.T for m in w[:3])
    for i in range(3):
        related = [max(0, w_f @ np.concatenate([theta[i], phi[j]])) / 3 for j in range(3)]
        expected = x[0, :, 0, i] + w[3] @ (related @ g)
        np.testing.assert_allclose(non_local(x, *w, "concatenation", w_f=w_f)[0, :, 0, i], expected)


def test_the_worked_numbers():
    x = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    one = np.ones((1, 1))
    y = {
        form: (non_local(x, one, one, one, one, form) - x).ravel()
        for form in ("dot_product", "embedded_gaussian")
    }
    np.testing.assert_allclose(y["dot_product"], [2.5, 5])
    np.testing.assert_allclose(y["embedded_gaussian"], [1.731059, 1.880797], atol=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_a_new_block_is_the_identity_and_learns(norm):
    block = NonLocalBlock(4, norm=norm, std=1.0)
    x = normal(2, 4, 3, 2, 2).astype(np.float32)
    np.testing.assert_array_equal(block(x).numpy(), x)
    optimizer = optim.SGD(block.parameters(), 0.1)
    for _ in range(2):  # theta, phi and g get a gradient once the last weight is no longer 0
        optimizer.zero_grad()
        (block(x) * normal(*x.shape).astype(np.float32)).sum().backward()
        optimizer.step()
    moved = {name for name, p in block.named_parameters() if np.abs(p.grad).max() > 0}
    # a bias of phi adds the same to all products of a query, and the norm subtracts a bias before it
    assert moved >= {f"{name}.weight" for name in ("theta", "phi", "g", "out")}


def test_scale_divides_the_products_by_the_square_root_of_the_width():
    plain, scaled = (stirred(NonLocalBlock(4, 9, scale=scale, norm=False)) for scale in (False, True))
    scaled.load_state_dict(plain.state_dict())
    scaled.theta.weight.data *= 3
    scaled.theta.bias.data *= 3
    x = normal(1, 4, 2, 3).astype(np.float32)
    np.testing.assert_allclose(plain(x).numpy(), scaled(x).numpy(), atol=1e-5)


def test_the_weights_are_shown_and_sum_to_one():
    block = stirred(NonLocalBlock(4, pool=2))
    with nn.looking(block) as seen:
        block(normal(2, 4, 3, 4, 6).astype(np.float32))
    assert seen["weights"].shape == (2, 72, 18)
    np.testing.assert_allclose(seen["weights"].sum(axis=2), 1, atol=1e-5)


def test_before_training_the_network_is_the_resnet_without_the_blocks():
    model = small()
    images = normal(2, 3, 32, 32).astype(np.float32)
    np.testing.assert_array_equal(model(images).numpy(), model.backbone(images).numpy())
    assert [m.shape for m in model.features(images)] == [(2, 8, 8, 8), (2, 16, 4, 4)]


def test_a_film_of_one_frame_is_a_picture():
    model = stirred(small(codes=True, read="places"))
    images = normal(2, 3, 32, 32).astype(np.float32)
    np.testing.assert_allclose(model(images[:, None]).numpy(), model(images).numpy(), atol=1e-5)


@pytest.mark.parametrize("across", [True, False])
def test_frames_meet_in_the_non_local_blocks_alone(across):
    model = stirred(small(across_frames=across, read="places"))
    film = normal(1, 3, 3, 16, 16).astype(np.float32)
    other = film.copy()
    other[:, 0] = normal(3, 16, 16)
    moved = np.abs(model(film).numpy() - model(other).numpy()).max()
    assert moved > 1e-4 if across else moved == 0


def test_where_all_frames_are_read_their_order_of_frames_does_not_matter():
    model = stirred(small(codes=True))
    film = normal(2, 4, 3, 16, 16).astype(np.float32)
    np.testing.assert_allclose(model(film).numpy(), model(film[:, ::-1]).numpy(), atol=1e-5)


def test_the_mean_over_places_is_what_one_frame_gives():
    model = stirred(small())
    images = normal(2, 3, 32, 32).astype(np.float32)
    whole = model(images).numpy()
    model.read = "places"
    np.testing.assert_allclose(model(images).numpy().mean(axis=(2, 3)), whole, atol=1e-5)


def test_saved_and_loaded(tmp_path):
    model = stirred(small(codes=True, read="places", across_frames=False, pool=2, scale=True))
    mv.save(model, tmp_path)
    film = normal(1, 2, 3, 32, 32).astype(np.float32)
    np.testing.assert_array_equal(mv.load(tmp_path)(film).numpy(), model.eval()(film).numpy())


def test_the_same_logits_and_gradients_on_a_device(device):
    found = []
    film = normal(2, 2, 3, 16, 16).astype(np.float32)
    for where in ("cpu", device):
        model = small(codes=True, read="places", pool=2).to(where)
        y = model(mv.to_device(film, where))
        mv.ops.cross_entropy(y, mv.to_device(np.ones((2, 2, 2), int), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: NonLocalBlock(0), "NonLocalBlock: channels must be a whole number of at least 1, got 0"),
        (lambda: NonLocalBlock(4, form="other"), "NonLocalBlock: form must be one of embedded_gaussian, "),
        (lambda: NonLocalBlock(4)(normal(1, 4, 3)), r"NonLocalBlock: x must be \(B, C, H, W\) or"),
        (lambda: NonLocalBlock(4)(normal(1, 3, 2, 2)), "conv2d: x has C=3 channels"),
        (lambda: NonLocalBlock(4, pool=3)(normal(1, 4, 2, 2)), "non_local: pool must be 1 to the side"),
        (lambda: NonLocalResNet(ResNet(**SIZES), (1, 3)), r"NonLocalResNet: places must be 0 to 2, got \(1, 3\)"),
        (lambda: small(read="first"), 'NonLocalResNet: read must be "mean" or "places", got'),
        (lambda: small()(normal(3, 16, 16)), r"NonLocalResNet: images must be \(B, C, H, W\)"),
        (lambda: non_local(normal(1, 2, 3), *[np.ones((2, 2))] * 4), r"non_local: x must be \(B, C, H, W\) or"),
        (lambda: non_local(normal(1, 2, 3, 3), *[np.ones((2, 2))] * 4, "other"), "non_local: form must be one of"),
        (lambda: non_local(normal(1, 2, 3, 3), *[np.ones((2, 2))] * 4, pool=4), "non_local: pool must be 1 to"),
        (lambda: non_local(normal(1, 2, 3, 3), *[np.ones((2, 3))] * 4), r"non_local: w_theta must be \(C', C=2\)"),
        (lambda: non_local(normal(1, 2, 3, 3), *[np.ones((4, 2))] * 4), r"non_local: w_z must be \(C=2, C'=4\)"),
        (lambda: non_local(normal(1, 2, 3, 3), *[np.ones((2, 2))] * 4, "concatenation"), "non_local: .* needs w_f"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_an_empty_batch_gives_an_empty_answer():
    assert NonLocalBlock(4, norm=False)(np.zeros((0, 4, 2, 2), np.float32)).shape == (0, 4, 2, 2)
    assert small(read="places")(np.zeros((0, 2, 3, 16, 16), np.float32)).shape == (0, 3, 2, 2)


def test_numpys_scale_keeps_the_dtype_and_shapes_are_explained():
    x, w = np.ones((1, 4, 3, 5), np.float32), np.ones((2, 4), np.float32)
    assert non_local(x, w, w, w, w.T, scale=np.float64(2) ** -0.5).dtype == np.float32
    with pytest.raises(
        ValueError, match=r"non_local: .* needs w_f, of shape \(2 C',\) with C'=2.* got \(3,\)"
    ):
        non_local(x, w, w, w, w.T, "concatenation", w_f=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="non_local: w_theta and w_phi must have one shape"):
        non_local(x, w, w[:1], w, w.T)
    with pytest.raises(ValueError, match=r"non_local_weights: theta must be \(B, N, C'\)"):
        vision.non_local_weights(w, w)
    with pytest.raises(TypeError, match="non_local: w_z must be an array"):
        non_local(x, w, w, w, None)
