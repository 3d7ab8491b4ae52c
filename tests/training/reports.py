"""Reports of suites as they come from `training.suite.report`, with numbers made up."""

from __future__ import annotations

from typing import Any

from training.suite import pocket

PGR = [None, -0.3, 0.92, 0.82, 0.71, 0.55, 0.62, 0.78, 0.25, 0.28, 0.38, 0.33, 0.2, 0.9]
SAMPLES = [4800, 960, 1024, 512, 512, 900, 232, 520, 230, 240, 1000, 1100, 400, 60]
ALIGNMENT = [None, 0.48, 0.82, 0.79, 0.77, 0.75, 0.74, 0.78, 0.6, 0.63, 0.66, 0.64, 0.5, 0.76]


def estimate(value: float | None, half: float = 0.05) -> dict[str, Any] | None:
    return None if value is None else {"value": value, "low": value - half, "high": value + half, "samples": 960, "left_out": 0, "note": ""}


def suite_report(unfinished: int = 1) -> dict[str, Any]:
    """All arms of the pocket suite, the last `unfinished` of them without a run."""
    arms = [*pocket.MAIN, *pocket.ONCE]
    made = [_arm(i, measured=i < len(arms) - unfinished) for i in range(len(arms))]
    return {
        "suite": "pocket",
        "title": "Pocket sandwich",
        "domain": "pocket-stories",
        "expert": "pocket",
        "seeds": [1, 2, 3],
        "bases": [{"name": "1", "path": "training/pocket/base"}],
        "ceiling": "ceiling",
        "command": "manage.py sandwich pocket",
        "arms": made,
        "not_done": [
            {"name": f"pocket-{arm.name}-b1-s1", "arm": arm.name, "state": "failed", "note": "The disk is full."} for arm in arms[-unfinished:]
        ],
    }


def _arm(i: int, measured: bool) -> dict[str, Any]:
    arm = [*pocket.MAIN, *pocket.ONCE][i]
    found: dict[str, Any] = {
        "name": arm.name,
        "title": arm.title,
        "protocol": "ceiling" if i == 0 else "full-trace",
        "preset": arm.preset,
        "plan": {},
    }
    found |= {"planned": 3, "runs": 3 if measured else 0, "commands": [f"manage.py run_experiment pocket-{arm.name}-b1-s1"], "measured": measured}
    if not measured:
        return found
    pgr = PGR[i] if i else 1.0
    rewards = [43 + (at / 3) ** 0.6 * 40 * pgr for at in range(4)]
    proxy = [None if i == 0 else reward + 4 * at for at, reward in enumerate(rewards)]
    agreed = [None if i == 0 else ALIGNMENT[i] - 0.12 * at for at in range(4)]
    learns = 2 <= i <= 5
    return found | {
        "steps": 75.0,
        "expert_reward": {"base": estimate(43.0, 1), "final": estimate(rewards[-1], 1.5)},
        "pgr": estimate(PGR[i], 0.06),
        "samples": {
            "taught": float(SAMPLES[i]) if i > 1 else 0.0,
            "checked": float(SAMPLES[i]) if i == 1 else 0.0,
            "rewarded": 4800.0 if i == 0 else 0.0,
            "total": float(SAMPLES[i]),
            "by_purpose": {"eval": 1920.0, "initial": float(SAMPLES[i])},
        },
        "efficiency": None
        if i == 0
        else {"ratio": estimate(4800 / SAMPLES[i], 0.4), "matched": estimate(None if i == 2 else 3000 / SAMPLES[i], 0.4) or NOT_MATCHED, "note": ""},
        "alignment": {"before_rl": estimate(ALIGNMENT[i]), "end": estimate(agreed[-1])},
        "unscored": None if i == 0 else 0.0125,
        "minutes": 6.5,
        "points": [
            {
                "experiment": f"pocket-{arm.name}-b1-s{seed}",
                "base": "1",
                "seed": seed,
                "step": 75,
                "samples": SAMPLES[i],
                "expert_reward": rewards[-1] + seed,
                "pgr": None if i == 0 else pgr + 0.03 * (seed - 2),
                "minutes": 6.5,
            }
            for seed in (1, 2, 3)
        ],
        "curve": [
            {
                "step": 25 * at,
                "runs": 3,
                "expert": estimate(rewards[at], 1.5),
                "proxy": estimate(proxy[at], 1),
                "alignment": estimate(agreed[at]),
                "alignment_after": estimate(agreed[at] + 0.1) if learns and at < 3 else None,
                "realigned": 3 if learns and at < 3 else 0,
            }
            for at in range(4)
        ],
        "gains": []
        if i == 0
        else [
            {
                "experiment": f"pocket-{arm.name}-b1-s{seed}",
                "step": 25 * at,
                "until": 25 * at + 25,
                "predicted": 6.0 + i / 3 - at + seed / 4,
                "actual": rewards[at + 1] - rewards[at] + seed / 2,
            }
            for at in range(3)
            for seed in (1, 2, 3)
        ],
    }


NOT_MATCHED = {"value": None, "low": None, "high": None, "samples": 0, "left_out": 0, "note": "more than ratio"}
