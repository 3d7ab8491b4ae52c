"""The only writers of this app's rows. Each is one transaction, leaves an audit entry, and sends its news after the commit.

Rows are locked in one order, so that no two actions wait for each other: claims, then batches, then items, then budgets, each by
id. Handing out items and ending stale claims skip what is locked.
"""

from annotation.actions.batches import close_batch, end_exhausted, reassign, reopen, reroute, select_batch, set_priority
from annotation.actions.budgets import end_budget, hold_rewards, note_reached, set_budget
from annotation.actions.claims import claim_ahead, claim_next, decline, expire_claims, open_claim, release, release_many, renew_claim
from annotation.actions.domains import load_ready, save_domain
from annotation.actions.drafts import save_draft
from annotation.actions.experts import save_expert
from annotation.actions.gold import remove_gold, set_gold
from annotation.actions.importing import ImportReport, import_prompts, import_rollouts
from annotation.actions.outages import ask_again, expert_answered, expert_failed, may_ask, probe_over
from annotation.actions.prices import add_price
from annotation.actions.recording import record_proxy_grades, record_reward_verdicts, record_rollouts
from annotation.actions.verdicts import Answer, Passage, reveal, revise_feedback, submit_feedback, submit_many
from annotation.actions.waiting import attend_provider, forget_provider_batches, keep_provider_batches, leave_provider, take_all, wait_for_provider

__all__ = [
    "Answer",
    "ImportReport",
    "Passage",
    "add_price",
    "ask_again",
    "attend_provider",
    "claim_ahead",
    "claim_next",
    "close_batch",
    "decline",
    "end_budget",
    "end_exhausted",
    "expert_answered",
    "expert_failed",
    "expire_claims",
    "forget_provider_batches",
    "hold_rewards",
    "import_prompts",
    "import_rollouts",
    "keep_provider_batches",
    "leave_provider",
    "load_ready",
    "may_ask",
    "note_reached",
    "open_claim",
    "probe_over",
    "reassign",
    "record_proxy_grades",
    "record_reward_verdicts",
    "record_rollouts",
    "release",
    "release_many",
    "remove_gold",
    "renew_claim",
    "reopen",
    "reroute",
    "reveal",
    "revise_feedback",
    "save_domain",
    "save_draft",
    "save_expert",
    "select_batch",
    "set_budget",
    "set_gold",
    "set_priority",
    "submit_feedback",
    "submit_many",
    "take_all",
    "wait_for_provider",
]
