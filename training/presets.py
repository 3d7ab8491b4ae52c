"""Plans as data: what a protocol needs to know, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
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
    segment: int  # RL steps between looks at the policy: S
    strategy: str = "random"  # how the rollouts that the expert learns of are chosen from the pool
    # what the expert is asked
    initial: int = 0  # samples before the first RL step
    update: int = 0  # fresh samples at each later realignment
    pool: int = 0  # rollouts that the strategy chooses from; 0: as many as are asked for
    per_prompt: int = 8  # rollouts of each prompt in a pool
    per_task: int = 2  # prompts for single tasks: samples of each train prompt
    eval_prompts: int = 60
    eval_rollouts: int = 8  # of each eval prompt
    # Controls come on top of what is asked, as far as the budget goes; RL on expert reward has none.
    repeat_share: float = 0.0  # hidden repeats, as a share of the verdicts asked for: how steady the expert is
    gold_share: float = 0.0  # gold items, likewise: how exact
    calls: int = 0  # prompt optimisation: verdicts in all
    # over-optimisation
    stop_after_falls: int = 1  # weak proxy: falls of expert reward that end the run; 0: never
    check: int = 0  # n_check: fresh rollouts that are judged after every segment
    check_graded: int = 0  # rollouts that the proxy grades at a check, beside which fewer verdicts tell as much; 0: those that are judged
    fall: float = 1.0  # standard deviations that expert reward has to fall by
    fall_in: str = "scores"  # of single scores, or of the difference of two checks' "means"
    after_fall: str = "roll-back"  # to the last good checkpoint, or "keep" the policy as it is
    realignments: int = 4  # at most, each after a fall but the first
    collapse: float = 0.0  # ceiling: the share of different texts below which it ends; 0: never
    # the proxy
    proxy_n: int = 2  # n: resampled traces per rollout
    proxy_temperature: float = 1.0
    proxy_max_tokens: int = 96
    variance_grades: int = 10  # traces per rollout for max-variance
    unscored_limit: float = 0.5  # share of unscored rollouts in a step that pauses the run
    # prompts written from feedback
    shown: int = 10  # N: verdicts that a prompt is written from
    search: int = 1  # n_search: prompts that are tried
    keep: int = 1  # k: the best of them, which grade together
    validation_prompts: int = 0  # prompts that they are tried on, kept out of RL: M is these times their rollouts
    validation_rollouts: int = 8
    # RL
    prompts_per_step: int = 8
    group: int = 8
    learning_rate: float = 3e-4
    policy_temperature: float = 1.0
    policy_max_tokens: int = 80
    save_every: int = 10  # RL steps between resumable checkpoints
    reference_kl: bool = True  # measure at every look how far the policy has moved
    # distillation
    epochs: int = 5
    update_epochs: int = 3
    replay: int = 320  # earlier samples mixed into an update
    distil_learning_rate: float = 1e-3
    distil_batch: int = 16
    lora: int = 0  # rank of the adapter that is trained; 0: all parameters
    traces_per_text: int = 3  # context distillation: traces that are learnt of each text
    tries_per_text: int = 4  # and how many are written to find them
    probes: int = 0  # how often alignment is measured while the proxy learns

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

    @property
    def validation(self) -> int:
        """Rollouts that prompts written from feedback are tried on: M."""
        return self.validation_prompts * self.validation_rollouts


RUBRIC = Plan(
    "rubric",
    steps=120,
    segment=40,
    initial=16,
    update=16,
    search=6,
    keep=3,
    validation_prompts=10,
    check=20,
    fall_in="means",
    realignments=2,
)

PRESETS: dict[str, Plan] = {
    "pocket-full-trace": Plan("full-trace", steps=75, segment=25, initial=128, update=128),
    "pocket-ceiling": Plan("ceiling", steps=75, segment=25),
    "pocket-weak-proxy": Plan("weak-proxy", steps=60, segment=20, stop_after_falls=0),
    "pocket-full-trace-small": Plan("full-trace", steps=120, segment=30, initial=240, update=48),
    # Three traces of each text are three examples: fewer passes over them are as many steps.
    "pocket-context-feedback": Plan("context-feedback", steps=120, segment=30, initial=384, update=128, epochs=2, update_epochs=1),
    "pocket-context-full": Plan("context-full", steps=120, segment=30, initial=384, update=128, epochs=2, update_epochs=1),
    "pocket-scalar-head": Plan("scalar-head", steps=120, segment=30, initial=384, update=128),
    "pocket-rubric": RUBRIC,
    # Examples make prompts of several times the length, and the time goes with it: fewer of them, and one prompt instead of three.
    "pocket-few-shot": replace(RUBRIC, protocol="few-shot", shown=2, keep=1),
    "pocket-few-shot-prefilled": replace(RUBRIC, protocol="few-shot-prefilled", shown=2, keep=1),
    "pocket-per-prompt-rubric": Plan("per-prompt-rubric", steps=120, segment=40, realignments=1),
    "pocket-per-prompt-few-shot": Plan("per-prompt-few-shot", steps=120, segment=40, realignments=1),
    "pocket-prompt-optimisation": Plan("prompt-optimisation", steps=1, segment=1, calls=300, validation_prompts=10),
    "pocket-retrain": Plan("retrain", steps=120, segment=30),
}
