"""Pictures of local layers hold the numbers that they were given, at the right places.

Not here: whether they are beautiful; someone looked at each.
"""

import numpy as np
import pytest

from minivis import viz

RNG = np.random.default_rng(0)
COSTS = {
    "windows": [1, 3, 5],
    "layers": {
        "convolution": {"multiply_adds": [1e6, 9e6, 25e6], "seconds": [0.5, 1.0, 2.0]},
        "local attention": {"multiply_adds": [3e6, 4e6, 5e6], "seconds": [1.0, 1.5, 3.0]},
    },
}
WEIGHTS = RNG.random((2, 9, 4, 4))
PLACES = {"flat": (1, 1), "corner": (0, 3)}
PICTURES = {
    "window_costs": lambda **text: viz.window_costs(COSTS, **text),
    "geometric_prior": lambda **text: viz.geometric_prior(RNG.standard_normal((8, 5, 5)), **text),
    "aggregation_weights": lambda **text: viz.aggregation_weights(
        np.zeros((3, 8, 8)), WEIGHTS, PLACES, **text
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_title_and_caption_and_nothing_is_cut_off(name):
    fig = PICTURES[name](title="A title", caption="What to see: " + "words " * 30)
    assert fig.caption.startswith("What to see") and fig.get_suptitle() == "A title"
    fig.draw_without_rendering()
    box, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_times_are_multiples_of_the_fastest():
    multiply_adds, times = viz.window_costs(COSTS).axes
    assert [line.get_ydata().tolist() for line in multiply_adds.lines] == [[1e6, 9e6, 25e6], [3e6, 4e6, 5e6]]
    assert [line.get_ydata().tolist() for line in times.lines] == [[1, 2, 4], [2, 3, 6]]


def test_every_group_has_its_prior_and_offsets_are_counted_from_the_middle():
    prior = RNG.standard_normal((3, 5, 5))
    *groups, _ = viz.geometric_prior(prior).axes
    assert [ax.get_title() for ax in groups] == ["group 0", "group 1", "group 2"]
    for ax, expected in zip(groups, prior, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
        assert ax.images[0].get_extent() == [-2.5, 2.5, 2.5, -2.5]


def test_each_place_shows_the_weights_of_its_own_window():
    axes = np.reshape(viz.aggregation_weights(np.zeros((8, 8)), WEIGHTS[None], PLACES).axes, (2, 4))
    for row, (y, x) in zip(axes, PLACES.values(), strict=True):
        for head in (0, 1):
            shown = row[2 + head].images[0].get_array()
            np.testing.assert_array_equal(shown, WEIGHTS[head, :, y, x].reshape(3, 3))
        assert row[1].get_xlim() == (2 * (x - 1), 2 * (x + 2)) and row[1].get_ylim() == (
            2 * (y + 2),
            2 * (y - 1),
        )


@pytest.mark.parametrize(
    "draw, message",
    [
        (
            lambda: viz.window_costs({"windows": [1], "layers": {}}),
            "window_costs: expected layers with 1 numbers",
        ),
        (
            lambda: viz.window_costs({"windows": [1], "layers": COSTS["layers"]}),
            r"window_costs: .* not \['convolution', 'local attention'\]",
        ),
        (lambda: viz.geometric_prior(np.ones((3, 5))), r"geometric_prior: expected a prior \(groups, k, k\)"),
        (lambda: viz.aggregation_weights(np.ones((8, 8)), np.ones((1, 8, 4, 4)), PLACES), "expected weights"),
        (lambda: viz.aggregation_weights(np.ones((8, 8)), WEIGHTS, {"off": (4, 0)}), r"not \['off'\]"),
    ],
)
def test_what_does_not_fit_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
