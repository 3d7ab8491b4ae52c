"""Hidden repeats and gold items measure who answers; they are neither waited for nor learnt from."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation import actions, querysets
from annotation.controls import LEAST_GAP, Asked, plan
from annotation.errors import InvalidSelection, InvalidVerdict
from annotation.models import Batch, Feedback, Gold, Item, Rollout
from annotation.tasks import answer
from tests.annotation.makers import FairJudge, claim_one, make_batch, make_panel, make_program, make_rollouts, make_user, states, submit


@given(n=st.integers(1, 60), slots=st.integers(1, 3), repeats=st.floats(0, 0.5), golds=st.floats(0, 0.5), seed=st.integers(0, 9))
def test_a_plan_keeps_the_order_of_what_was_asked_and_adds_the_shares(n, slots, repeats, golds, seed):
    asked = [Asked(pk, slot) for slot in range(slots) for pk in range(n)]
    found = plan(asked, gold=range(100, 130), repeat_share=repeats, gold_share=golds, rng=Random(seed))
    assert [a for a in found if not a.control] == asked
    repeated = [a.rollout for a in found if a.control == "repeat"]
    golden = [a.rollout for a in found if a.control == "gold"]
    gap = min(LEAST_GAP, len(asked) // 2)
    eligible = sum(a.slot == 0 and i + gap < len(asked) - 1 for i, a in enumerate(asked))
    assert len(repeated) == len(set(repeated)) == min(eligible, round(repeats * n * slots))
    assert len(golden) == len(set(golden)) == min(30, round(golds * n * slots))
    assert set(golden) <= set(range(100, 130))
    for rollout in repeated:
        first = found.index(Asked(rollout, 0))
        again = next(i for i, a in enumerate(found) if a.rollout == rollout and a.control == "repeat")
        between = [a for a in found[first + 1 : again] if not a.control]
        assert len(between) >= gap
        assert not found[-1].control


def test_a_repeat_goes_to_who_has_judged_the_text(domain, panel, alice, bob):
    batch = make_batch(panel, domain, 20, repeat_share=0.5)
    repeats = set(Item.objects.filter(batch=batch, control="repeat").values_list("rollout", flat=True))
    seen: dict[str, list[int]] = {"alice": [], "bob": []}
    for user in [alice, bob] * 20:
        for claim in actions.claim_next(user=user):
            if claim.item.control:
                assert claim.item.rollout_id in seen[user.username]
            seen[user.username].append(claim.item.rollout_id)
            submit(claim, user=user)
    twice = {r for rollouts in seen.values() for r in rollouts if rollouts.count(r) == 2}
    assert twice <= repeats
    assert twice  # somebody was asked again before the batch was complete


def test_a_batch_is_complete_without_its_controls_and_they_are_asked_no_more(domain, panel, alice):
    Gold.objects.bulk_create(Gold(rollout_id=pk, score=50) for pk in make_rollouts(domain, 4, run="gold"))
    batch = make_batch(panel, domain, 4, gold_share=0.5)
    while open_items := querysets.outstanding(batch):
        claim = claim_one(alice)
        if claim.item.control and len(open_items) > 1:
            actions.release(claim.token, user=alice)
            Item.objects.filter(pk=claim.item_id).update(position=1000)  # later
        else:
            submit(claim, user=alice)
    assert Batch.objects.get(pk=batch.pk).closed is not None
    assert querysets.verdicts(batch).count() == 4
    assert set(states(batch)) <= {"done", "cancelled"}


def test_verdicts_on_controls_are_kept_apart(domain, panel, alice):
    Gold.objects.bulk_create(Gold(rollout_id=pk, score=50) for pk in make_rollouts(domain, 4, run="gold"))
    batch = make_batch(panel, domain, 4, gold_share=0.5)
    while claims := actions.claim_next(user=alice):
        submit(claims[0], user=alice)
    controls = Feedback.objects.filter(item__control="gold").count()
    assert Feedback.objects.count() == 4 + controls
    assert querysets.verdicts(batch).count() == 4


def test_a_text_of_the_batch_is_no_gold_in_it(domain, panel):
    rollouts = make_rollouts(domain, 4)
    Gold.objects.bulk_create(Gold(rollout_id=pk, score=50) for pk in rollouts[:3])
    batch = make_batch(panel, domain, rollouts[1:], gold_share=0.5)
    assert list(Item.objects.filter(batch=batch, control="gold").values_list("rollout", flat=True)) == rollouts[:1]


def test_a_program_answers_its_repeats_with_noise_of_their_own(domain):
    class Noisy(FairJudge):
        async def grade(self, cases, *, seed=0):
            rows = await super().grade(cases, seed=seed)
            return [type(row)(float(Random(f"{seed} {case.content}").randint(0, 100)), critique="x") for row, case in zip(rows, cases, strict=True)]

    batch = make_batch(make_program(), domain, 20, repeat_share=0.5)
    answer(batch, Noisy())
    scores: dict[int, list[float | None]] = {}
    for row in Feedback.objects.filter(item__batch=batch).order_by("item__slot"):
        scores.setdefault(row.item.rollout_id, []).append(row.score)
    pairs = [pair for pair in scores.values() if len(pair) == 2]
    assert len(pairs) == 10
    assert any(a != b for a, b in pairs)


def test_a_declined_repeat_is_not_asked_again(domain, alice):
    batch = make_batch(make_panel(alice), domain, 20, repeat_share=0.2)
    while claims := actions.claim_next(user=alice):
        if claims[0].item.control:
            actions.decline(claims[0].token, user=alice, reason="expertise")
            assert Item.objects.get(pk=claims[0].item_id).state == "cancelled"
            break
        submit(claims[0], user=alice)
    assert Item.objects.filter(batch=batch, control="repeat", state="cancelled").count() == 1


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_shares_out_of_range_are_refused(domain, panel, share):
    with pytest.raises(InvalidSelection, match="0 to 50%"):
        make_batch(panel, domain, 2, repeat_share=share)


def test_gold_needs_a_score_on_the_scale_and_can_be_corrected_and_taken_back(domain):
    rollout = Rollout.objects.get(pk=make_rollouts(domain, 1)[0])
    boss = make_user("boss")
    with pytest.raises(InvalidVerdict, match="from 0 to 100"):
        actions.set_gold(rollout, 101, actor=boss)
    actions.set_gold(rollout, 70, note="two editors agree", actor=boss)
    assert actions.set_gold(rollout, 75, actor=boss).score == 75 == Gold.objects.get().score
    actions.remove_gold(rollout, actor=boss)
    assert not Gold.objects.exists()


def test_a_panel_of_one_is_asked_again_about_its_own_texts(domain, alice):
    batch = make_batch(make_panel(alice), domain, 20, repeat_share=0.2)
    met = []
    while claims := actions.claim_next(user=alice):
        met.append(claims[0].item)
        submit(claims[0], user=alice)
    again = [item for item in met if item.control == "repeat"]
    assert 1 <= len(again) <= 4
    for item in again:
        assert [i.rollout_id for i in met].count(item.rollout_id) == 2
    assert querysets.verdicts(batch).count() == 20
