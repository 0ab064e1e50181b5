"""Each rule of association, on scripted rectangles."""

import json

import numpy as np
import pytest

from samcore.identities import association
from samcore.identities.association import TrackedMask, associate, crowded_out
from samcore.identities.config import AssociationConfig
from samcore.identities.ledger import Ledger
from tests.samcore.identities.play import Play, logits_of, mask_of, seen

HERE, THERE = (4, 4, 16, 16), (28, 28, 44, 44)
CLOSE = (6, 4, 18, 16)
"""IoU with `HERE` is 0.71."""
TOUCHING = (12, 12, 24, 24)
"""IoU with `HERE` is 0.06."""


def test_an_object_lost_and_found_keeps_its_id():
    """Lost for 5 or for 40 frames, once it is no longer young: it stays, and who is back is matched
    again."""
    for absent in (5, 40):
        play = Play()
        play.frame([seen(HERE)])
        play.frames(15, [seen(HERE)], {1: HERE})
        play.frames(absent, [], {1: None})
        back = play.frame([seen(THERE)], {1: THERE})

        assert play.ids == [1]
        assert not back.births
        (track,) = play.ledger.tracks
        assert (track.unmatched, track.run) == (0, 1)
        assert track.last_occluded == play.next_frame - 2


def test_an_object_that_splits_is_two():
    """The tracker stays with one part; the other one meets nobody and is born."""
    play = Play()
    play.frame([seen((4, 4, 28, 16))])
    play.frames(20, [seen((4, 4, 28, 16))], {1: (4, 4, 28, 16)})
    still = play.frame([seen((4, 4, 20, 16)), seen((14, 4, 30, 16))], {1: (4, 4, 20, 16)})
    split = play.frame([seen((2, 4, 14, 16)), seen((30, 4, 42, 16))], {1: (2, 4, 14, 16)})

    assert not still.births
    assert list(split.births) == [2]
    np.testing.assert_array_equal(split.births[2].mask_hw, mask_of((30, 4, 42, 16)))


def test_objects_that_merge_stay_two_when_they_are_old():
    """One detection of both meets both, and takes neither away."""
    play = Play()
    play.frame([seen(HERE), seen(THERE)])
    play.frames(20, [seen(HERE), seen(THERE)], {1: HERE, 2: THERE})
    play.frames(30, [seen((4, 4, 28, 16))], {1: (4, 4, 16, 16), 2: (16, 4, 28, 16)})
    apart = play.frame([seen(HERE), seen(THERE)], {1: HERE, 2: THERE})

    assert play.ids == [1, 2]
    assert not apart.births


def test_objects_that_cross_keep_their_ids():
    """While one hides the other, nobody is born; and of two tracks on one place, the one that was
    hidden is blanked once the other one was hidden, too, before."""
    play = Play()
    play.frame([seen((0, 4, 12, 16)), seen((36, 4, 48, 16))])
    births = []
    for step in range(37):
        left, right = (step, 4, step + 12, 16), (36 - step, 4, 48 - step, 16)
        overlap = abs(36 - 2 * step) < 12
        sightings = [seen(left)] if overlap else [seen(left), seen(right)]
        births += play.frame(sightings, {1: left, 2: None if overlap else right}).births

    assert not births
    assert play.ids == [1, 2]


@pytest.mark.parametrize(("shown", "is_kept"), [(3, False), (12, True)])
def test_a_false_alarm_is_removed_while_it_is_young(shown, is_kept):
    """A thing that is detected on 3 frames is gone within 15 frames; one of 12 frames stays."""
    play = Play()
    play.frame([seen(HERE)])
    found = play.frames(shown - 1, [seen(HERE)], {1: HERE})
    found += play.frames(30, [], {1: HERE})

    removed = [i for i, decisions in enumerate(found, start=1) if decisions.removed]
    assert removed == ([] if is_kept else [shown - 1 + 8])
    assert play.ids == ([1] if is_kept else [])
    later = play.frame([seen(THERE)], {1: HERE} if is_kept else {})
    assert list(later.births) == [2]  # an id comes once


@pytest.mark.parametrize("counts", [False, True])
def test_a_false_alarm_that_the_tracker_loses_stays_unless_that_counts(counts):
    """An empty track is neither matched nor unmatched, as the sources have it; or, by default, it
    is unmatched."""
    play = Play(AssociationConfig(empty_is_unmatched=counts))
    play.frame([seen(HERE)])
    play.frame([seen(HERE)], {1: HERE})
    found = play.frames(12, [], {1: None})
    assert [i for i, decisions in enumerate(found, start=1) if decisions.removed] == [8] * counts


def test_a_duplicate_is_removed_the_older_one_stays():
    """Two tracks that meet the same detections on 8 frames: the younger one was a mistake."""
    play = Play()
    play.frame([seen(HERE)])
    play.frames(3, [seen(HERE)], {1: HERE})
    play.frame([seen(HERE), seen(THERE)], {1: HERE})
    found = play.frames(20, [seen(HERE)], {1: HERE, 2: CLOSE})

    assert [i for i, decisions in enumerate(found, start=1) if decisions.removed] == [8]
    assert play.ids == [1]
    assert play.ledger.next_id == 3


def test_of_twins_the_one_with_the_lower_id_is_the_older():
    """Two objects born on one frame that turn out to be one: upstream has no rule for these."""
    play = Play()
    play.frame([seen(HERE), seen(THERE)])
    found = play.frames(10, [seen(HERE)], {1: HERE, 2: HERE})

    assert [sorted(decisions.removed) for decisions in found if decisions.removed] == [[2]]


def test_old_tracks_are_not_removed():
    """After 15 frames no count is kept, and nothing removes a track."""
    play = Play()
    play.frame([seen(HERE)])
    play.frames(14, [seen(HERE)], {1: HERE})
    found = play.frames(100, [], {1: HERE})

    assert not any(decisions.removed for decisions in found)
    assert play.ledger.tracks[0].unmatched == 0


@pytest.mark.parametrize("shift", range(5))
def test_a_birth_near_a_border_is_the_same_wherever_the_ledger_was_saved(shift):
    """The ledger goes through its JSON before and after the birth, and nothing changes."""
    plays = [Play(), Play()]
    for number in range(20):
        sightings = [seen(THERE)] if number < 2 + shift else [seen(THERE), seen(HERE)]
        for play in plays:
            masks = {1: THERE, 2: CLOSE} if len(play.ids) == 2 else {1: THERE}
            play.frame(sightings, masks if play.ids else {})
        plays[1].ledger = Ledger.model_validate_json(plays[1].ledger.model_dump_json())

    assert plays[0].ledger == plays[1].ledger
    assert plays[0].ids == [1, 2]
    assert plays[0].ledger.tracks[1].first_frame == 2 + shift


def test_of_more_than_the_limit_the_best_are_born(caplog):
    """Ids ascend by score; who finds no place may be born later, under an id of its own. That there
    was no place for some is said once."""
    association._say_full.cache_clear()
    play = Play(AssociationConfig(max_objects=2))
    first = play.frame([seen(HERE, 0.95), seen(THERE, 0.9), seen((28, 4, 40, 16), 0.8)])
    full = play.frame([seen((28, 4, 40, 16))], {1: HERE, 2: THERE})
    for _ in range(6):
        play.frame([seen(HERE)], {1: HERE, 2: THERE})
    removing = play.frame([seen(HERE), seen((28, 4, 40, 16))], {1: HERE, 2: THERE})

    assert list(first.births) == [1, 2]
    assert not full.births
    assert removing.removed == {2}
    assert list(removing.births) == [3]
    assert [record.getMessage()[:17] for record in caplog.records] == ["2 objects at once"]


def test_nothing_detected_changes_nothing():
    """No detection and no track: an empty ledger stays one; without a look not even ages count."""
    play = Play()
    for sightings in ([], None):
        assert not play.frame(sightings).births
    assert play.ledger == Ledger()
    play.frame([seen(HERE)])
    before = play.ledger
    play.frames(12, None, {1: HERE})
    assert play.ledger == before


@pytest.mark.parametrize(
    ("every", "most"), [(1, 8), (2, 4), (3, 3), (4, 2), (5, 2), (8, 2), (30, 2)]
)
def test_every_nth_frame_takes_an_nth_of_the_misses(every, most):
    """8 of 15 frames become `ceil(8/N)` of those that are detected, and two at least, for which a
    new object is waited for."""
    config = AssociationConfig(detect_every=every)
    play = Play(config)
    play.frame([seen(HERE)])
    found = []
    for frame_idx in range(1, 64):
        sightings = [] if frame_idx % every == 0 else None
        found.append(play.frame(sightings, {1: HERE} if play.ids else {}))

    assert (config.max_unmatched, config.max_shared) == (most, most)
    removed = [i for i, decisions in enumerate(found, start=1) if decisions.removed]
    assert removed == [most * every]


def test_one_miss_is_enough_where_that_is_asked_for():
    """The bound of two is for rare looks, not against a person's own number."""
    assert AssociationConfig(unmatched_frames=1, detect_every=5).max_unmatched == 1


def test_labels_do_not_meet():
    """A dog on a person is a new object, and takes nothing from that."""
    play = Play()
    play.frame([seen(HERE, label="person")])
    play.frames(3, [seen(HERE, label="person")], {1: HERE})
    both = play.frame([seen(HERE, label="dog"), seen(HERE, label="person")], {1: HERE})

    assert list(both.births) == [2]
    assert [track.label for track in play.ledger.tracks] == ["person", "dog"]
    assert [track.run for track in play.ledger.tracks] == [5, 1]


def test_what_is_not_sure_is_no_new_object_but_keeps_an_old_one():
    """Below 0.7 nobody is born; a weak detection still counts for the track that it meets."""
    play = Play()
    assert not play.frame([seen(HERE, 0.69)]).births
    play.frame([seen(HERE, 0.7)])
    play.frames(14, [seen(HERE, 0.55)], {1: HERE})
    assert play.ids == [1]
    assert not play.frame([seen(TOUCHING, 0.69), seen(THERE, 0.6)], {1: HERE}).births


def test_one_to_one_matches_each_detection_once():
    """Of two tracks on one detection one is matched; as the sources have it both are."""
    for one_to_one, removed in ((False, 8), (True, 8)):
        config = AssociationConfig(one_to_one=one_to_one, shared_frames=100)
        play = Play(config)
        play.frame([seen(HERE), seen(THERE)])
        found = play.frames(14, [seen(HERE)], {1: HERE, 2: CLOSE})
        gone = [i for i, decisions in enumerate(found, start=1) if decisions.removed]
        assert gone == ([removed] if one_to_one else [])


def test_a_prompted_object_is_never_removed_and_is_not_born_again():
    """It meets detections of every label, though nobody detected it; no frame takes it away."""
    play = Play()
    play.ledger = play.ledger.reserving([7])
    found = [play.frame([seen(HERE, label=label)], {7: HERE}) for label in ("dog", None, "car")]
    found += play.frames(30, [], {7: HERE})
    found.append(play.frame([seen(THERE)], {7: HERE}))

    assert not any(decisions.removed or decisions.blanked for decisions in found)
    assert [list(decisions.births) for decisions in found if decisions.births] == [[8]]


def test_a_prompted_object_of_a_known_label_meets_that_one_only():
    """What a person calls a ball does not keep a dog from being found."""
    play = Play(AssociationConfig(prompted_labels={7: "ball"}))
    play.ledger = play.ledger.reserving([7])
    assert not play.frame([seen(HERE, label="ball")], {7: HERE}).births
    assert list(play.frame([seen(HERE, label="dog")], {7: HERE}).births) == [8]


def test_a_duplicate_of_a_prompted_object_is_removed():
    """A person's object is older than any track."""
    play = Play()
    play.ledger = play.ledger.reserving([7])
    play.frame([seen(HERE)], {})
    found = play.frames(8, [seen(HERE)], {8: HERE, 7: HERE})
    assert [sorted(decisions.removed) for decisions in found if decisions.removed] == [[8]]


def test_a_person_vouches_for_a_track():
    """Once prompted, it is not removed, however little is detected."""
    play = Play()
    play.frame([seen(HERE)])
    play.ledger = play.ledger.vouching(1)
    play.frames(14, [], {1: HERE})
    assert play.ids == [1]


def _hidden_at(play, *, first, second):
    """Two old tracks that were hidden at these frames; None is never."""
    play.frame([seen(HERE), seen(THERE)])
    for _ in range(20):
        masks = {
            1: None if play.next_frame == first else HERE,
            2: None if play.next_frame == second else THERE,
        }
        play.frame([], masks) if first or second else play.frame(None, masks)


@pytest.mark.parametrize(
    ("first", "second", "loser"),
    [(5, 9, 2), (9, 5, 1), (5, 5, None), (None, None, None), (5, None, None), (None, 5, None)],
)
def test_of_two_tracks_on_one_place_the_one_hidden_later_is_blanked(first, second, loser):
    """Equal or never on either side: none, as the sources have it."""
    play = Play(AssociationConfig(unmatched_frames=1000))
    _hidden_at(play, first=first, second=second)
    both = play.frame(None, {1: HERE, 2: CLOSE})

    assert both.blanked == (set() if loser is None else {loser})
    assert not both.removed
    if loser is not None:
        track = play.ledger.find(loser)
        assert track.last_occluded == play.next_frame - 1


def test_a_track_does_not_blank_a_prompted_object():
    """It is the track that loses, if it was ever hidden."""
    play = Play()
    play.ledger = play.ledger.reserving([3])
    play.frame([seen(THERE)], {3: HERE})
    assert not play.frame(None, {3: HERE, 4: CLOSE}).blanked
    play.frame(None, {3: HERE, 4: None})
    assert play.frame(None, {3: HERE, 4: CLOSE}).blanked == {4}


def test_a_sure_sighting_anchors_its_track_from_time_to_time():
    """On multiples of 16, at score, overlap and object score enough; the best sighting counts."""
    play = Play()
    play.frame([seen(HERE)])
    found = [
        play.frame([seen(HERE, 0.95), seen((4, 4, 16, 15), 0.85)], {1: HERE}) for _ in range(32)
    ]
    anchored = {i: d.anchors[1].score for i, d in enumerate(found, start=1) if d.anchors}
    assert anchored == {16: 0.95, 32: 0.95}


@pytest.mark.parametrize(
    ("sighting", "score", "changes"),
    [
        (seen(HERE, 0.79), 5.0, {}),
        (seen(CLOSE), 5.0, {}),
        (seen(HERE), 0.8, {}),
        (seen(HERE), 5.0, {"reanchor_every": 0}),
        (seen(HERE), 5.0, {"detect_every": 3}),
        (seen(HERE, label="dog"), 5.0, {}),
    ],
)
def test_what_is_not_sure_anchors_nothing(sighting, score, changes):
    """Each condition alone is enough to leave the track as it is."""
    play = Play(AssociationConfig(**changes))
    play.frame([seen(HERE)])
    play.next_frame = 16
    assert not play.frame([sighting], {1: HERE}, score=score).anchors


def test_prompted_and_blanked_objects_are_not_anchored():
    """A person's object is what the person said; a blanked mask is nobody's."""
    play = Play()
    play.ledger = play.ledger.reserving([1])
    play.next_frame = 16
    assert not play.frame([seen(HERE)], {1: HERE}).anchors
    play = Play(AssociationConfig(unmatched_frames=1000))
    _hidden_at(play, first=5, second=9)
    play.next_frame = 32
    both = play.frame([seen(CLOSE)], {1: HERE, 2: CLOSE})
    assert both.blanked == {2}
    assert not both.anchors


def test_a_track_without_credit_is_hidden_where_that_is_wanted():
    """Thirty misses and it is not shown; two detections, and it is again."""
    play = Play(AssociationConfig(suppress_unmatched=True))
    play.frame([seen(HERE)])
    play.frames(14, [seen(HERE)], {1: HERE})
    found = play.frames(30, [], {1: HERE})
    assert [bool(decisions.hidden) for decisions in found] == [False] * 29 + [True]
    assert not play.frame([seen(HERE)], {1: HERE}).hidden


def test_a_track_is_confirmed_by_matches_in_a_row():
    """Its birth is the first one; a miss begins anew."""
    play = Play(AssociationConfig(confirm_frames=3))
    play.frame([seen(HERE)])
    play.frame([seen(HERE)], {1: HERE})
    play.frame([], {1: HERE})
    play.frames(5, [seen(HERE)], {1: HERE})
    assert play.ledger.tracks[0].confirmed_at == 5


def test_a_mask_that_loses_its_pixels_goes_into_memory_empty():
    """Below 30 % of its own; of equal logits the lower id has the pixel; a person's mask stays."""
    play = Play()
    play.frame([seen(HERE), seen(THERE)])
    weak, strong = logits_of(HERE, 2.0), logits_of((4, 4, 16, 12), 5.0)
    apart = logits_of((4, 4, 16, 13), 2.0)
    crowded = lambda masks: crowded_out(play.ledger, play.config, masks)  # noqa: E731

    assert crowded({1: strong, 2: weak}) == set()  # a third is left
    assert crowded({1: strong, 2: apart}) == {2}
    assert crowded({1: strong, 2: strong}) == {2}
    assert crowded({1: apart, 2: strong, 9: weak}) == {1}
    assert crowded({1: logits_of(HERE), 9: logits_of(HERE, 2.0)}) == set()
    assert crowded({1: logits_of(HERE, 2.0), 9: logits_of(HERE)}) == {1}
    assert crowded({}) == set()


def test_last_bits_decide_nothing():
    """Scores are compared as they are written down, in steps of 1e-4; ties go by the box."""
    from samcore.detectors.detector import Detection
    from samcore.identities.sightings import distinct, likely

    def found(rect, score):
        return Detection(score=score, picture_hw=(48, 48), box_xyxy_px=rect)

    items = [found(THERE, 0.70000001), found(HERE, 0.7), found(HERE, 0.50001)]
    config = AssociationConfig()
    for order in (items, items[::-1]):
        kept = likely(order, config)
        assert [item.box_xyxy_px for item in kept] == [HERE, THERE]
        sightings = distinct(kept, [item.region((48, 48)) for item in kept], config)
        decisions = associate(Ledger(), config, 0, [], sightings)
        assert list(decisions.births) == [1, 2]


def test_the_ledger_is_plain_json():
    """And comes back as it was, counts of young tracks included."""
    play = Play()
    play.frame([seen(HERE, label="dog"), seen(THERE)])
    play.frames(3, [seen(HERE, label="dog"), seen(HERE)], {1: HERE, 2: CLOSE})
    text = json.dumps(play.ledger.model_dump(mode="json"))
    assert Ledger.model_validate_json(text) == play.ledger


def test_the_same_arguments_give_the_same_decisions():
    """Whatever the order of the tracks."""
    play = Play()
    play.frame([seen(HERE), seen(THERE)])
    tracks = [TrackedMask(1, logits_of(HERE), 5.0), TrackedMask(2, logits_of(CLOSE), 5.0)]
    for order in (tracks, tracks[::-1]):
        decisions = associate(play.ledger, play.config, 1, order, [seen(HERE)])
        assert decisions.ledger.tracks[1].shared == ((1, 1),)
        assert not decisions.ledger.tracks[0].shared
