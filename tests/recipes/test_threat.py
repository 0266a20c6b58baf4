"""Threats: who is drawn under each threat model, budgets, keys, refusals."""

import numpy as np
import pytest
from data_sets import CLASSES, make_data_set, patch

from tfpoison.data import ImageClassification, InMemoryExamples
from tfpoison.recipes import ThreatSettings, TrialKey, draw_threat
from tfpoison.recipes.threat import positions_of
from tfpoison.recipes.threat_settings import SELECTIONS, THREAT_MODELS

DATA = make_data_set()


def drawn_threat(trial=0, *, data=DATA, more=None, **settings):
    return draw_threat(
        ThreatSettings(**({"budget": 8} | settings)),
        TrialKey(0, trial),
        data.train,
        data.validation,
        CLASSES,
        **(more or {}),
    )


def classes_of(examples, ids):
    return set(examples.labels[positions_of(examples, ids)].tolist())


@pytest.mark.parametrize("model", THREAT_MODELS)
@pytest.mark.parametrize("trial", range(6))
def test_threat_models(model, trial):
    threat = drawn_threat(trial, threat_model=model)
    assert classes_of(DATA.validation, threat.target_ids) == {threat.target_class}
    assert threat.adversarial_class != threat.target_class
    classes = classes_of(DATA.train, threat.poison_ids)
    if model == "single_class":
        assert classes == {threat.adversarial_class}
    elif model == "third_party":
        assert len(classes) == 1
        assert not classes & {threat.adversarial_class, threat.target_class}
    else:
        assert len(classes) > 1
    assert len(set(threat.poison_ids)) == 8
    assert (np.diff(threat.poison_ids) > 0).all()
    assert threat.key == f"0-{trial}"


def test_the_same_key_draws_the_same():
    first, again, other = drawn_threat(3), drawn_threat(3), drawn_threat(4)
    for name in ("target_ids", "poison_ids", "adversarial_class"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert set(first.poison_ids) != set(other.poison_ids)


def test_trials_differ():
    pairs = {(t.target_class, t.adversarial_class) for t in map(drawn_threat, range(100))}
    # All 12 ordered pairs of 4 classes come up.
    assert len(pairs) == 12


@pytest.mark.parametrize(
    ("budget", "count"), [(0.1, 8), (0.01, 1), (0.001, 1), (20, 20), (1, 1), (0.1375, 11)]
)
def test_budgets(budget, count):
    assert len(drawn_threat(budget=budget).poison_ids) == count


def test_a_budget_larger_than_its_class():
    with pytest.raises(ValueError, match=r"at most 20 poisons.*Received: 21"):
        drawn_threat(budget=21)
    assert len(drawn_threat(budget=80, threat_model="random_images").poison_ids) == 80
    with pytest.raises(ValueError, match="at most 80"):
        drawn_threat(budget=81, threat_model="random_images")


# Training images of each class, of which 8 are poisoned.
UNEVEN = (20, 3, 20, 7, 20)


def make_uneven(sizes=UNEVEN):
    """Classes of these sizes for training, ten of each held out; images of noise."""
    noise = np.random.default_rng(0)

    def make(labels):
        images = noise.integers(0, 256, (len(labels), 2, 2, 3))
        return InMemoryExamples(images.astype(np.uint8), labels)

    classes = np.arange(len(sizes))
    names = tuple(map(str, classes))
    return ImageClassification(
        "uneven", names, make(np.repeat(classes, sizes)), make(np.repeat(classes, 10))
    )


def draw_uneven(trial, sizes=UNEVEN, more=None, **settings):
    data = make_uneven(sizes)
    settings = ThreatSettings(**({"budget": 8} | settings))
    threat = draw_threat(
        settings, TrialKey(0, trial), data.train, data.validation, len(sizes), **(more or {})
    )
    assert len(threat.poison_ids) == settings.count_poisons(data.train.size)
    return threat, classes_of(data.train, threat.poison_ids)


@pytest.mark.parametrize("model", ["single_class", "third_party"])
def test_small_classes_are_not_poisoned(model):
    drawn = [draw_uneven(trial, threat_model=model) for trial in range(60)]
    poisoned = [poisoned for _, (poisoned,) in drawn]
    # The three large classes, each in about a third of 60 trials.
    assert set(poisoned) == {0, 2, 4}
    assert min(poisoned.count(each) for each in (0, 2, 4)) > 10
    assert {threat.target_class for threat, _ in drawn} == {0, 1, 2, 3, 4}
    if model == "third_party":
        assert {threat.adversarial_class for threat, _ in drawn} == {0, 1, 2, 3, 4}


def test_small_classes_are_no_sources():
    more = {"trigger": patch(size=1)}
    drawn = [draw_uneven(trial, more=more, poisons_are_sources=True)[0] for trial in range(40)]
    assert {threat.target_class for threat in drawn} == {0, 2, 4}
    assert {threat.adversarial_class for threat in drawn} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("model", ["single_class", "third_party"])
def test_classes_that_are_not_drawn_change_nothing(model):
    """A trial whose classes all have room draws the same as if every class had."""
    same = 0
    for trial in range(20):
        whole = draw_uneven(trial, sizes=(20,) * 5, threat_model=model)[0]
        threat = draw_uneven(trial, threat_model=model)[0]
        assert threat.target_ids == whole.target_ids
        same += threat.adversarial_class == whole.adversarial_class
    # Three of five classes have room; as third party any may be the adversarial one.
    assert same == 20 if model == "third_party" else 4 < same < 20


# Target class, adversarial class, target ids, poison ids.
DRAWN = [
    (3, 0, [45], [24, 60]),
    (0, 1, [24], [39, 195]),
    (1, 3, [15], [33, 189]),
    (3, 0, [45], [30, 66]),
    (0, 1, [24], [42, 198]),
]


def test_what_was_drawn_once_is_drawn_for_good():
    """Recorded trials stay repeatable: what the second scheme of draws has drawn."""
    drawn = [drawn_threat(trial, budget=2) for trial in range(3)]
    drawn += [drawn_threat(trial, budget=2, threat_model="third_party") for trial in range(2)]
    assert [
        (t.target_class, t.adversarial_class, t.target_ids.tolist(), t.poison_ids.tolist())
        for t in drawn
    ] == DRAWN


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        # The largest class may be the target's.
        ({}, 7),
        ({"target_class": 0}, 7),
        ({"target_class": 1}, 20),
        ({"adversarial_class": 1}, 3),
        ({"threat_model": "third_party"}, 3),
        ({"threat_model": "third_party", "target_class": 0}, 3),
        ({"threat_model": "third_party", "target_class": 1, "adversarial_class": 2}, 20),
        ({"threat_model": "random_images"}, 30),
        ({"poisons_are_sources": True}, 20),
        ({"poisons_are_sources": True, "adversarial_class": 0}, 7),
        ({"poisons_are_sources": True, "target_class": 1, "threat_model": "random_images"}, 3),
    ],
)
def test_budgets_that_every_trial_has_room_for(settings, room):
    data = make_uneven((20, 3, 7))
    for trial in range(10):
        _, poisoned = draw_uneven(trial, (20, 3, 7), budget=room, **settings)
        assert len(poisoned) == (3 if room == 30 else 1)
    with pytest.raises(ValueError, match=f"at most {room} poisons.*Received: {room + 1}"):
        ThreatSettings(budget=room + 1, **settings).check(data.train, data.validation, 3)


def test_sources_need_held_out_images_too():
    data = make_uneven()
    some = data.validation.labels == 1
    validation = InMemoryExamples(data.validation.images[some], data.validation.labels[some])
    data = type(data)(data.name, data.class_names, data.train, validation)
    settings = ThreatSettings(budget=8, poisons_are_sources=True)
    with pytest.raises(ValueError, match="only some of them room for the budget"):
        draw_threat(settings, TrialKey(0, 0), data.train, validation, 5, trigger=patch(size=1))


@pytest.mark.parametrize("sources", [False, True])
def test_networks_have_no_say_in_a_threat_with_a_trigger(sources):
    """It is measured on a whole class: another machine's clean networks draw the same."""
    trigger = {"trigger": patch(size=1)}
    none = trigger | {"eligible": np.zeros(DATA.validation.size, bool)}
    for trial in range(5):
        threat = drawn_threat(trial, more=none, poisons_are_sources=sources)
        alike = drawn_threat(trial, more=trigger, poisons_are_sources=sources)
        assert threat.target_class == alike.target_class
        assert threat.adversarial_class == alike.adversarial_class
        whole = DATA.validation.ids[DATA.validation.labels == threat.target_class]
        np.testing.assert_array_equal(threat.target_ids, whole)


def test_selection_by_gradient_norm():
    norms = np.random.default_rng(0).random(DATA.train.size)
    threat = drawn_threat(selection="gradient_norm", more={"gradient_norms": norms})
    ours = np.flatnonzero(DATA.train.labels == threat.adversarial_class)
    best = ours[np.argsort(norms[ours])[-8:]]
    np.testing.assert_array_equal(threat.poison_ids, np.sort(DATA.train.ids[best]))
    assert SELECTIONS == ("random", "gradient_norm")


def test_targets_are_eligible():
    eligible = np.zeros(DATA.validation.size, bool)
    eligible[[5, 9, 13]] = True
    for trial in range(5):
        threat = drawn_threat(trial, targets=2, more={"eligible": eligible})
        assert set(threat.target_ids) <= set(DATA.validation.ids[[5, 9, 13]])
        assert len(threat.target_ids) == 2
    with pytest.raises(ValueError, match="4 held-out images"):
        drawn_threat(targets=4, more={"eligible": eligible})


def test_targets_of_the_training_set():
    images = DATA.validation.images.copy()
    images[4] = DATA.train.images[12]
    validation = InMemoryExamples(images, DATA.validation.labels, DATA.validation.ids)
    data = type(DATA)(DATA.name, DATA.class_names, DATA.train, validation)
    settings = ThreatSettings(target_ids=(int(validation.ids[4]),))
    with pytest.raises(ValueError, match=f"outside the training set.*too: {validation.ids[4]}"):
        settings.check(data.train, data.validation, CLASSES)
    given = drawn_threat(data=data, target_ids=(int(validation.ids[5]),))
    assert given.target_ids.tolist() == [validation.ids[5]]


def test_drawn_targets_are_held_out():
    """By their ids, and by their pixels."""
    images = DATA.validation.images.copy()
    images[:30] = DATA.train.images[:30]
    validation = InMemoryExamples(images, DATA.validation.labels, DATA.validation.ids + 1000)
    data = type(DATA)(DATA.name, DATA.class_names, DATA.train, validation)
    drawn = [drawn_threat(trial, data=data, targets=2).target_ids for trial in range(10)]
    assert set(np.concatenate(drawn)) <= set(validation.ids[30:])


def test_targets_that_are_given_need_not_be_eligible():
    more = {"eligible": np.zeros(DATA.validation.size, bool)}
    ids = DATA.validation.ids[[5, 9]].tolist()
    threat = drawn_threat(target_ids=tuple(ids), more=more)
    assert (threat.target_ids.tolist(), threat.target_class) == (ids, 1)


@pytest.mark.parametrize("trial", range(12))
def test_the_class_of_given_poisons(trial):
    # Ids are three times the positions, and classes the positions modulo four.
    threat = drawn_threat(trial, poison_ids=(15, 3))
    assert threat.adversarial_class == 1
    assert threat.target_class != 1
    trigger = {"trigger": patch(size=2)}
    threat = drawn_threat(trial, poison_ids=(15, 3), more=trigger, poisons_are_sources=True)
    assert threat.target_class == 1
    assert threat.adversarial_class != 1


def test_what_is_given_is_taken():
    threat = drawn_threat(target_class=2, adversarial_class=1, poison_ids=(15, 3))
    assert (threat.target_class, threat.adversarial_class) == (2, 1)
    assert threat.poison_ids.tolist() == [3, 15]


@pytest.mark.parametrize("sources", [0, 7])
def test_triggers_have_all_held_out_sources_for_targets(sources):
    more = {"trigger": patch(size=2), "sources": sources}
    threat = drawn_threat(more=more)
    expected = DATA.validation.ids[DATA.validation.labels == threat.target_class]
    np.testing.assert_array_equal(threat.target_ids, expected)
    assert len(threat.source_ids) == sources
    if sources:
        assert classes_of(DATA.train, threat.source_ids) == {threat.target_class}
    images = threat.target_images(DATA.validation)
    assert (
        (images != DATA.validation.read(positions_of(DATA.validation, expected)))
        .any((1, 2, 3))
        .all()
    )


def test_poisons_may_be_sources():
    threat = drawn_threat(more={"trigger": patch(size=2), "sources": 10}, poisons_are_sources=True)
    assert classes_of(DATA.train, threat.poison_ids) == {threat.target_class}
    assert not set(threat.source_ids) & set(threat.poison_ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "above 0"),
        ({"budget": 1.5}, "whole number"),
        ({"targets": 0}, "at least 1"),
        ({"threat_model": "single"}, "single_class"),
        ({"selection": "best"}, "gradient_norm"),
        ({"target_class": 4}, "from 0 to 3"),
        ({"adversarial_class": -1}, "from 0 to 3"),
        ({"target_class": 1, "adversarial_class": 1}, "another than the target's"),
        ({"target_ids": (1,)}, "unknown ones: 1"),
        ({"poison_ids": (3, 4)}, "unknown ones: 4"),
        ({"target_ids": (0, 3)}, r"of one class.*classes 0, 1"),
        ({"target_ids": (0,), "target_class": 1}, "of the class 1.*original order"),
        ({"poison_ids": (0, 3)}, "of one class"),
        ({"poison_ids": (0,), "adversarial_class": 1}, "of the class 1"),
        ({"target_ids": (3,), "adversarial_class": 1}, "another than the target's"),
        ({"target_ids": (3,), "poison_ids": (3,)}, "another than the target's"),
        ({"target_class": 1, "poison_ids": (3,)}, "another than the target's"),
        ({"target_ids": (3, 3)}, "every id in `target_ids` once.*once: 3$"),
        ({"poison_ids": (3, 15, 3)}, "every id in `poison_ids` once.*once: 3$"),
        ({"poison_ids": (-3,)}, "`poison_ids`.*at least 0"),
        ({"target_ids": (2**63,)}, "`target_ids`.*at most"),
        ({"selection": "gradient_norm"}, "gradient norms"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        drawn_threat(**settings)


def test_threats_that_share_a_training_have_images_and_classes_of_their_own():
    beside = []
    for number in range(6):
        key, more = TrialKey(0, 2, number), {"beside": beside}
        settings = ThreatSettings(budget=8)
        beside.append(draw_threat(settings, key, DATA.train, DATA.validation, CLASSES, **more))
    first = drawn_threat(2)
    np.testing.assert_array_equal(beside[0].poison_ids, first.poison_ids)
    assert [each.key for each in beside[:2]] == ["0-2", "0-2-1"]
    poisons = np.concatenate([each.poison_ids for each in beside])
    targets = np.concatenate([each.target_ids for each in beside])
    assert len(set(poisons.tolist())) == 48
    assert len(set(targets.tolist())) == 6
    for each in beside:
        assert classes_of(DATA.train, each.poison_ids) == {each.adversarial_class}
    assert len({each.adversarial_class for each in beside[:3]}) == 3
    with pytest.raises(ValueError, match=r"Expected 33 images to poison beside.* 32 are left"):
        drawn_threat(3, budget=33, threat_model="random_images", more={"beside": beside})


def test_all_to_one():
    """Targets are all held-out images of other classes; poisons are drawn by their labels."""
    more = {"trigger": patch(size=2), "sources": 9}
    for trial in range(5):
        for sources in (False, True):
            threat = drawn_threat(
                trial, all_to_one=True, covers=2, poisons_are_sources=sources, more=more
            )
            adversarial = threat.adversarial_class
            assert threat.target_class is None
            others = DATA.validation.ids[DATA.validation.labels != adversarial]
            np.testing.assert_array_equal(threat.target_ids, others)
            assert adversarial not in threat.target_labels(DATA.validation)
            assert adversarial not in classes_of(DATA.train, threat.source_ids)
            payload = threat.poison_ids[~threat.is_cover]
            assert (len(payload), threat.is_cover.sum()) == (8, 16)
            classes = classes_of(DATA.train, payload)
            assert (adversarial in classes) == (not sources) and (len(classes) > 1) == sources
            assert len(classes_of(DATA.train, threat.cover_ids)) > 2
    assert threat.target_name("abcd") == "any other class"


def test_covers_change_nothing_else():
    more = {"trigger": patch(size=2), "sources": 5}
    plain, covered = (drawn_threat(2, covers=covers, more=more) for covers in (0, 1.5))
    np.testing.assert_array_equal(covered.poison_ids[~covered.is_cover], plain.poison_ids)
    np.testing.assert_array_equal(covered.source_ids, plain.source_ids)
    assert len(covered.cover_ids) == 12


@pytest.mark.parametrize(
    ("settings", "room"),
    [
        ({}, 20),
        ({"adversarial_class": 1}, 3),
        ({"poisons_are_sources": True}, 27),
        ({"poisons_are_sources": True, "adversarial_class": 0}, 10),
        # The largest class may be the adversarial one.
        ({"threat_model": "third_party"}, 7),
        ({"threat_model": "random_images"}, 30),
    ],
)
def test_room_where_all_other_classes_are_targets(settings, room):
    data, more = make_uneven((20, 3, 7)), {"trigger": patch(size=1)}
    for trial in range(5):
        draw_uneven(trial, (20, 3, 7), budget=room, all_to_one=True, more=more, **settings)
    settings = ThreatSettings(budget=room + 1, all_to_one=True, **settings)
    with pytest.raises(ValueError, match=f"at most {room} poisons"):
        settings.check(data.train, data.validation, 3)


ALL = {"all_to_one": True, "more": {"trigger": patch(size=2)}}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"all_to_one": True}, "a trigger for a threat to all"),
        (ALL | {"target_class": 1}, "no class of targets"),
        (ALL | {"target_ids": (3,)}, "no class of targets"),
        (ALL | {"covers": 9.5}, "at most 80 images.*9.5 covers each"),
        (
            ALL | {"poison_ids": (0, 3), "adversarial_class": 1, "poisons_are_sources": True},
            "other classes than the adversarial one",
        ),
    ],
)
def test_refusals_of_all_to_one(settings, message):
    with pytest.raises(ValueError, match=message):
        drawn_threat(**settings)


def test_given_poisons_of_several_classes():
    given = {"poison_ids": (0, 3, 9), "poisons_are_sources": True}
    assert {drawn_threat(trial, **ALL, **given).adversarial_class for trial in range(3)} == {2}
