"""Backdoor patches: their exact geometry, and who carries which."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import attacks
from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

CLASSES, HEIGHT, WIDTH = 4, 20, 30
ENCODING = LabelEncoding(CLASSES, one_hot=False)
NAMES = ["patch", "patch_fixed_place", "patch_known_size", "patch_image", "patch_pairs"]
NAMES += ["patch_adaptive", "patch_adaptive_unpaired"]


def make_batch(poisons=24, targets=24, pixels=None):
    draw = np.random.default_rng(0)
    images = draw.uniform(0.2, 0.8, size=(poisons + targets, HEIGHT, WIDTH, 3)).astype("float32")
    labels = np.arange(poisons + targets) % CLASSES
    return SplitBatch(
        poison_images=tf.constant(images[:poisons]),
        poison_labels=tf.constant(labels[:poisons]),
        target_images=tf.constant(images[poisons:]),
        target_labels=tf.constant(labels[poisons:]),
        fake_labels=tf.constant(labels[poisons:]),
    )


def bind(name, batch, seed=0, pixel_range=(0, 1), **settings):
    perturbation = attacks.get(name, **settings).perturbation
    pixels = PixelRange(pixel_range)
    return perturbation.bind(
        batch, pixels=pixels, encoding=ENCODING, key=Purpose.CRAFTING.key(seed)
    )


def find_patches(clean, patched):
    """Returns each image's rectangle (top, left, height, width) and the pixels in it."""
    found = []
    for before, after in zip(np.asarray(clean), np.asarray(patched), strict=True):
        rows, columns = np.nonzero((before != after).any(-1))
        top, left = rows.min(), columns.min()
        height, width = rows.max() - top + 1, columns.max() - left + 1
        inside = np.zeros(before.shape[:2], bool)
        inside[top : top + height, left : left + width] = True
        # One full rectangle has changed, and not one bit beside it.
        np.testing.assert_array_equal((before != after).any(-1), inside)
        pixels = after[top : top + height, left : left + width]
        found.append(((int(top), int(left), int(height), int(width)), pixels))
    return found


def patches_of(name, seed=0, **settings):
    batch = make_batch()
    bound = bind(name, batch, seed, **settings)
    patched = bound.finish(bound.initial)
    return (
        batch,
        patched,
        find_patches(batch.poison_images, patched.poison_images),
        find_patches(batch.target_images, patched.target_images),
    )


def by_class(labels, patches):
    """Returns each class's patch; all images of a class must carry the same one."""
    patterns = {}
    for label, (_, pixels) in zip(np.asarray(labels), patches, strict=True):
        known = patterns.setdefault(int(label), pixels)
        np.testing.assert_array_equal(known, pixels)
    return patterns


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_rectangle_within_the_bounds(name, seed):
    _, _, *sides = patches_of(name, seed)
    least, greatest = {"patch_known_size": ((2, 2), (7, 7))}.get(name, ((2, 3), (8, 12)))
    for patches in sides:
        shapes = np.array([shape for shape, _ in patches])
        assert (shapes[:, 2:] >= least).all()
        assert (shapes[:, 2:] <= greatest).all()
        pixels = np.concatenate([np.ravel(each) for _, each in patches])
        if name != "patch_image":
            assert set(np.unique(pixels)) <= {0, 1}


def test_all_sides_and_places_occur():
    shapes = [shape for seed in range(40) for shape, _ in patches_of("patch", seed)[2]]
    tops, lefts, heights, widths = map(set, zip(*shapes, strict=True))
    assert heights == set(range(2, 9))
    assert widths == set(range(3, 13))
    assert {0, HEIGHT - 2} <= tops
    assert 0 in lefts
    ends = {(top + height, left + width) for top, left, height, width in shapes}
    assert max(end for end, _ in ends) == HEIGHT
    assert max(end for _, end in ends) == WIDTH


@pytest.mark.parametrize("name", [name for name in NAMES if name != "patch_pairs"])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_class_has_its_patch_and_targets_that_of_another_class(name, seed):
    batch, patched, on_poisons, on_targets = patches_of(name, seed)
    poison_patches = by_class(batch.poison_labels, on_poisons)
    target_patches = by_class(batch.target_labels, on_targets)
    fake = {}
    for label, other in zip(batch.target_labels.numpy(), patched.fake_labels.numpy(), strict=True):
        assert fake.setdefault(int(label), int(other)) == int(other)
    assert sorted(fake.values()) == list(range(CLASSES))  # A permutation,
    assert all(label != other for label, other in fake.items())  # and none in its place.
    if name != "patch_adaptive_unpaired":
        for label, other in fake.items():
            np.testing.assert_array_equal(target_patches[label], poison_patches[other])
    else:
        different = [
            target_patches[label].shape != poison_patches[other].shape
            for label, other in fake.items()
        ]
        assert any(different)


@pytest.mark.parametrize("pixel_range", [(0, 1), (-1, 1)])
def test_opacities_are_drawn_for_each_image(pixel_range):
    batch = make_batch()
    opaque, faint = (
        bind("patch_adaptive", batch, pixel_range=pixel_range, **settings)
        for settings in ({}, {"opacity": 0.25})
    )
    patterns = [0.5 * opaque.initial[0]]
    sides = ("poison_images", "target_images")
    shares = []
    for side in sides:
        before = getattr(batch, side).numpy()
        covered = getattr(opaque.finish(patterns), side).numpy() - before
        seen = getattr(faint.finish(patterns), side).numpy() - before
        for whole, part in zip(covered, seen, strict=True):
            # The same patch at the same place, as far as one share says for all of its pixels.
            inside = whole != 0
            share = np.median(part[inside] / whole[inside])
            np.testing.assert_allclose(part, share * whole, atol=1e-6)
            shares.append(share)
    assert 0.25 <= min(shares) < 0.35 and 0.9 < max(shares) < 1
    assert len(set(np.round(shares, 5))) == len(shares)
    loss = [tf.constant(np.random.default_rng(1).normal(size=covered.shape), tf.float32)] * 2
    of_opaque, of_faint = (each.gradients(patterns, loss)[0].numpy() for each in (opaque, faint))
    assert np.abs(of_faint).sum() < np.abs(of_opaque).sum() and np.abs(of_faint).sum() > 0


def test_places_are_drawn_for_each_image_or_for_each_class():
    batch, _, on_poisons, _ = patches_of("patch")
    of_class = [shape for shape, _ in on_poisons][::CLASSES]
    assert len({shape[:2] for shape in of_class}) > 1
    batch, patched, on_poisons, on_targets = patches_of("patch_fixed_place")
    places = {}
    labels = [*batch.poison_labels.numpy(), *patched.fake_labels.numpy()]
    for label, (shape, _) in zip(labels, [*on_poisons, *on_targets], strict=True):
        assert places.setdefault(int(label), shape) == shape
    assert len(set(places.values())) == CLASSES


def test_pieces_are_cut_from_images_of_the_batch():
    batch, _, on_poisons, _ = patches_of("patch_image")
    images = np.concatenate([batch.poison_images, batch.target_images])
    for pixels in by_class(batch.poison_labels, on_poisons).values():
        height, width = pixels.shape[:2]
        windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
        windows = np.moveaxis(windows, 3, -1)
        assert (np.abs(windows - pixels).max((-3, -2, -1)) < 1e-6).any()


def test_pieces_for_many_classes_need_no_whole_image_each():
    """The largest tensor holds the batch or the pieces, not an image for each of 300 classes."""

    @tf.function(autograph=False)
    def cut(images, labels):
        batch = SplitBatch(images, labels, images, labels, labels)
        perturbation = attacks.get("patch_image").perturbation
        encoding = LabelEncoding(300, one_hot=False)
        bound = perturbation.bind(
            batch, pixels=PixelRange(), encoding=encoding, key=Purpose.CRAFTING.key(0)
        )
        return bound.initial

    graph = cut.get_concrete_function(tf.zeros([4, 20, 20, 3]), tf.zeros([4], tf.int64)).graph
    sizes = [
        each.shape.num_elements() or 0 for node in graph.get_operations() for each in node.outputs
    ]
    assert max(sizes) == 300 * 8 * 8 * 3  # Patches have up to 0.4 of an image's side.


@pytest.mark.parametrize("targets", [24, 30])
def test_pairs_share_patch_and_place(targets):
    batch = make_batch(targets=targets)
    bound = bind("patch_pairs", batch)
    patched = bound.finish(bound.initial)
    on_poisons = find_patches(batch.poison_images, patched.poison_images)
    on_targets = find_patches(batch.target_images, patched.target_images)
    for number, (shape, pixels) in enumerate(on_targets):
        partner_shape, partner_pixels = on_poisons[number % 24]
        assert shape == partner_shape
        np.testing.assert_array_equal(pixels, partner_pixels)
    assert len({shape for shape, _ in on_poisons}) > 12


def test_rates_of_patterns_are_drawn_for_each_class():
    means = []
    for seed in range(20):
        batch, _, on_poisons, _ = patches_of("patch", seed)
        patches = by_class(batch.poison_labels, on_poisons).values()
        means += [float(pixels.mean()) for pixels in patches]
    # Rates are uniform: a fifth lies below 0.2, a fifth above 0.8; with rate ½ hardly any would.
    assert np.mean(np.array(means) < 0.2) > 0.08
    assert np.mean(np.array(means) > 0.8) > 0.08


def test_patches_fill_the_pixel_range():
    batch = make_batch()
    scaled = batch.replace(
        poison_images=255 * batch.poison_images, target_images=255 * batch.target_images
    )
    bound = bind("patch", scaled, pixel_range=(0, 255))
    patched = bound.finish(bound.initial)
    reference = bind("patch", batch)
    expected = 255 * reference.finish(reference.initial).poison_images
    np.testing.assert_allclose(patched.poison_images, expected, rtol=1e-5)


def test_optimised_patterns_stay_in_the_range():
    batch = make_batch()
    bound = bind("patch_adaptive", batch)
    patched = bound.finish([3 * bound.initial[0] - 1])
    assert 0 <= patched.poison_images.numpy().min() <= patched.poison_images.numpy().max() <= 1
    (gradient,) = bound.gradients(
        bound.initial,
        [tf.ones_like(batch.poison_images), tf.ones_like(batch.target_images)],
    )
    # Each pattern's pixels are pasted on as many images as carry it: 6 poisons and 6 targets.
    assert gradient.numpy().max() == 12


def test_same_key_same_patches():
    first, again, other = (patches_of("patch", seed)[1].join() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first.numpy() != other.numpy()).any()


def test_patches_that_do_not_fit():
    with pytest.raises(ValueError, match=r"patch_size=12, which draws sides up to 21 pixels"):
        bind("patch_known_size", make_batch(), patch_size=12)
    flat = make_batch().replace(poison_images=tf.zeros([24, 7]))
    with pytest.raises(ValueError, match=r"\(n, height, width, channels\)"):
        bind("patch", flat)
