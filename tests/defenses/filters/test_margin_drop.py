"""Margin drop: scores worked out from probabilities, and what is asked for them."""

import numpy as np
import pytest

from tfpoison.defenses.filters import Evidence, MarginDrop
from tfpoison.repairing.settings import LEAST_IMAGES


def log_odds(probability):
    return np.log(probability) - np.log1p(-probability)


def test_scores_from_probabilities():
    """Of two repairs the mean; what loses its label and what loses a wide margin come first."""
    before = np.array([0.9, 0.9, 0.999999, 0.6, 0.9] * 2)
    after = np.array([[0.01, 0.02], [0.89, 0.9], [0.99, 0.98], [0.5, 0.6], [0.95, 0.97]] * 2)
    margins = log_odds(np.concatenate([before[:, np.newaxis], after], axis=1))
    suspicion = MarginDrop(share=0.4).inspect(margins, np.zeros(10, int))
    by_hand = (log_odds(before)[:, np.newaxis] - log_odds(after)).mean(axis=1)
    by_hand += 2 * (np.log(before)[:, np.newaxis] - np.log(after)).mean(axis=1)
    np.testing.assert_allclose(suspicion.scores, by_hand, rtol=1e-6)
    assert suspicion.suspects.tolist() == [True, False, True, False, False] * 2


def test_margins_without_bound():
    margins = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]] * 4)
    scores = MarginDrop().inspect(margins, np.zeros(12, int)).scores
    np.testing.assert_allclose(scores, [4e4, -4e4, 0] * 4)


def test_what_is_asked():
    evidence = MarginDrop(repair="fine_pruning", repairs=3, images=50).evidence
    assert evidence == Evidence("margins", repair="fine_pruning", repairs=3, repair_images=50)
    assert evidence.training == Evidence().training


def test_it_asks_for_as_many_examples_as_a_repair_does():
    MarginDrop(images=LEAST_IMAGES).check(LEAST_IMAGES)
    with pytest.raises(ValueError, match=f"at least {LEAST_IMAGES} examples"):
        MarginDrop().check(LEAST_IMAGES - 1)
    with pytest.raises(ValueError, match="`images`"):
        MarginDrop(images=LEAST_IMAGES - 1)


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_so_many_are_suspects(share):
    margins = np.random.default_rng(0).normal(size=(40, 3))
    assert MarginDrop(share=share).inspect(margins, np.zeros(40, int)).suspects.sum() == 40 * share
