"""Foreign objects drawn over a chest: brighter where they lie, their places told, and nothing elsewhere."""

import numpy as np

from cxrcad.synthesis.foreign_objects import draw_foreign_objects


def test_what_is_drawn_is_denser_than_the_chest_and_its_places_are_on_it():
    image = np.full((300, 280), 0.4, np.float32)
    on_it = 0
    for seed in range(20):
        drawn, places = draw_foreign_objects(image, np.random.default_rng(seed))
        assert drawn.shape == image.shape
        assert drawn.dtype == np.float32
        assert drawn.min() >= 0.4 - 1e-6
        assert drawn.max() <= 1
        assert 1 <= len(places) <= 4
        for row, col in places.round().astype(int):
            on_it += drawn[max(0, row - 20) : row + 21, max(0, col - 20) : col + 21].max() > 0.5
        assert (drawn == image).mean() > 0.5
    assert on_it == sum(len(draw_foreign_objects(image, np.random.default_rng(seed))[1]) for seed in range(20))


def test_the_image_given_is_left_and_the_seed_decides():
    image = np.full((200, 200), 0.3, np.float32)
    first, again, other = (draw_foreign_objects(image, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    assert (image == np.float32(0.3)).all()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
