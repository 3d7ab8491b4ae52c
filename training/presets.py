"""Plans as data: what a protocol needs to know, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

STRATEGIES = [
    ("random", "at random"),
    ("max-variance", "where the proxy is least sure"),
    ("max-disagreement", "where proxy and expert disagree most"),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every number that a protocol and its jobs use. Frozen into the experiment when it starts.

    Counts are in rollouts unless said otherwise. Names follow the method: S is `segment`, n is `proxy_n`.
    """

    protocol: str
    steps: int  # RL steps in all
    segment: int  # RL steps between looks at the policy
    strategy: str = "random"  # how the rollouts that the expert learns of are chosen from the pool
    # what the expert is asked
    initial: int = 0  # samples before the first RL step
    update: int = 0  # fresh samples at each later realignment
    pool: int = 0  # rollouts that the strategy chooses from; 0: as many as are asked for
    per_prompt: int = 8  # rollouts of each prompt in a pool
    eval_prompts: int = 60
    eval_rollouts: int = 8  # of each eval prompt
    # Controls come on top of what is asked, as far as the budget goes; RL on expert reward has none.
    repeat_share: float = 0.0  # hidden repeats, as a share of the verdicts asked for: how steady the expert is
    gold_share: float = 0.0  # gold items, likewise: how exact
    stop_after_falls: int = 1  # weak proxy: falls of expert reward that end the run; 0: never
    # the proxy
    proxy_n: int = 2  # resampled traces per rollout
    proxy_temperature: float = 1.0
    proxy_max_tokens: int = 96
    variance_grades: int = 10  # traces per rollout for max-variance
    unscored_limit: float = 0.5  # share of unscored rollouts in a step that pauses the run
    # RL
    prompts_per_step: int = 8
    group: int = 8
    learning_rate: float = 3e-4
    policy_temperature: float = 1.0
    policy_max_tokens: int = 80
    save_every: int = 10  # RL steps between resumable checkpoints
    # distillation
    epochs: int = 5
    update_epochs: int = 3
    replay: int = 320  # earlier samples mixed into an update
    distil_learning_rate: float = 1e-3
    distil_batch: int = 16

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Raises ValueError naming keys that are unknown or missing."""
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"a plan has no {', '.join(sorted(unknown))}")
        if missing := {"protocol", "steps", "segment"} - set(data):
            raise ValueError(f"the plan lacks {', '.join(sorted(missing))}")
        return cls(**data)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def pool_grades(self) -> int:
        """Proxy traces on each rollout of a pool, as the strategy needs them."""
        return {"random": 0, "max-variance": self.variance_grades, "max-disagreement": self.proxy_n}[self.strategy]

    def controls(self, count: int, room: int | None = None) -> tuple[int, int]:
        """How many hidden repeats and gold items come on top of `count` verdicts at most; no more than `room` together."""
        repeats, golds = round(self.repeat_share * count), round(self.gold_share * count)
        if room is None or repeats + golds <= room:
            return repeats, golds
        fewer = repeats * room // (repeats + golds)
        return fewer, room - fewer

    @property
    def batch(self) -> int:
        """Rollouts of one RL step."""
        return self.prompts_per_step * self.group

    @property
    def evaluation(self) -> int:
        """Rollouts of one look at the eval split."""
        return self.eval_prompts * self.eval_rollouts


PRESETS: dict[str, Plan] = {
    "pocket-full-trace": Plan("full-trace", steps=75, segment=25, initial=320, update=160, replay=320),
    "pocket-ceiling": Plan("ceiling", steps=75, segment=25),
    "pocket-weak-proxy": Plan("weak-proxy", steps=60, segment=20, stop_after_falls=0),
}
