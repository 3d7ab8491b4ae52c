"""The selection strategies on rows: what to ask the expert, and which of the answers to learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from random import Random
from statistics import fmean

import numpy as np
from django.db import connection
from django.db.models import QuerySet

from annotation import querysets, selection
from annotation.errors import InvalidSelection
from annotation.models import Batch, ProxyGrade, Rollout
from annotation.selection import Array

# Of a million rollouts, ten grades each: the server adds them up many times faster than they could be fetched.
MOMENTS = """
SELECT rollout_id, count(*), avg(score), coalesce(stddev_samp(score), 0) FROM annotation_proxygrade
WHERE proxy = %(proxy)s AND rollout_id BETWEEN %(first)s AND %(last)s AND rollout_id = ANY(%(rollouts)s)
AND score > '-Infinity' AND score < 'Infinity' GROUP BY rollout_id
"""
AT_ONCE = 20_000  # rollouts: memory is theirs and not all rollouts'
STRATEGIES = ("random", "max-variance", "max-disagreement")


def choose(strategy: str, rollouts: QuerySet[Rollout] | Iterable[int], n: int, seed: int, proxy: str = "") -> list[int]:
    """Ids of at most `n` of `rollouts` to ask the expert about, the most wanted first; the same arguments give the same choice.

    `proxy`: digest of the version whose grades `max-variance` looks at. `max-disagreement` can only be known once the expert has spoken,
    so it takes the whole pool, whatever `n`: choose among the answers with `choose_feedback`. Raises `InvalidSelection` for an unknown
    strategy.
    """
    ids = sorted(rollouts.values_list("pk", flat=True) if isinstance(rollouts, QuerySet) else set(rollouts))
    rng = Random(seed)
    if strategy == "random":
        return selection.at_random(ids, n, rng)
    if strategy == "max-variance":
        return selection.most(ids, proxy_spreads(ids, proxy), n, rng)
    if strategy == "max-disagreement":
        return selection.at_random(ids, len(ids), rng)
    raise InvalidSelection(f"There is no selection strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")


def choose_feedback(strategy: str, batch: Batch, n: int, seed: int, proxy: str = "") -> list[int]:
    """Ids of at most `n` of the batch's standing verdicts to learn from, the most wanted first.

    `max-disagreement` compares the expert's score with the mean of the grades by the proxy version `proxy`, within a rollout's group
    (same run, step and prompt). Verdicts on one rollout by several reviewers are ranked each on its own. Raises `InvalidSelection`.
    """
    rows = list(
        querysets.verdicts(batch)
        .order_by("pk")
        .values_list("pk", "score", "item__rollout", "item__rollout__run", "item__rollout__step", "item__rollout__prompt")
    )
    rollout_of = {row[0]: row[2] for row in rows}
    rng = Random(seed)
    if strategy == "random":
        return selection.at_random(rollout_of, n, rng)
    if strategy not in STRATEGIES:
        raise InvalidSelection(f"There is no selection strategy {strategy!r}; there are {', '.join(STRATEGIES)}.")
    grades = proxy_grades(sorted(set(rollout_of.values())), proxy)
    if strategy == "max-variance":
        return selection.max_variance({pk: grades[rollout] for pk, rollout in rollout_of.items()}, n, rng)
    means = {rollout: _mean(values) for rollout, values in grades.items()}
    return selection.max_disagreement(
        expert={row[0]: row[1] for row in rows},
        proxy={pk: means[rollout] for pk, rollout in rollout_of.items()},
        groups={row[0]: row[3:] for row in rows},
        n=n,
        rng=rng,
    )


def proxy_spreads(rollouts: Sequence[int], proxy: str) -> Array:
    """`selection.relative_spread` of the scores that the proxy version gave each of `rollouts`, which are in ascending order."""
    spreads = np.full(len(rollouts), -np.inf)
    with connection.cursor() as cursor:
        for start in range(0, len(rollouts), AT_ONCE):
            some = list(rollouts[start : start + AT_ONCE])
            cursor.execute(MOMENTS, {"proxy": proxy, "first": some[0], "last": some[-1], "rollouts": some})
            if rows := cursor.fetchall():
                ids, *moments = np.array(rows, dtype=float).T
                spreads[start + np.searchsorted(some, ids)] = selection.spread_by_mean(*moments)
    return spreads


def proxy_grades(rollouts: Sequence[int], proxy: str) -> dict[int, list[float | None]]:
    """The scores that the proxy version gave each rollout, unscored traces as None; [] where there are none."""
    grades: dict[int, list[float | None]] = defaultdict(list)
    for rollout, score in ProxyGrade.objects.filter(rollout__in=rollouts, proxy=proxy).order_by("pk").values_list("rollout_id", "score"):
        grades[rollout].append(score)
    return {rollout: grades[rollout] for rollout in rollouts}


def _mean(scores: Iterable[float | None]) -> float | None:
    scored = [score for score in scores if score is not None]
    return fmean(scored) if scored else None
