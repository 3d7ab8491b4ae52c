"""The only writers of this app's rows. Each is one transaction, leaves an audit entry, and sends its news after the commit.

Rows are locked in one order, so that no two actions wait for each other: claims, then batches, then items, each by
id. Handing out items and ending stale claims skip what is locked.
"""

from annotation.actions.batches import close_batch, reassign, reopen, select_batch, set_priority
from annotation.actions.claims import claim_ahead, claim_next, decline, expire_claims, open_claim, release, release_many, renew_claim
from annotation.actions.domains import load_ready, save_domain
from annotation.actions.drafts import save_draft
from annotation.actions.gold import remove_gold, set_gold
from annotation.actions.importing import ImportReport, import_prompts, import_rollouts
from annotation.actions.recording import record_proxy_grades, record_reward_verdicts, record_rollouts
from annotation.actions.verdicts import Answer, Passage, reveal, revise_feedback, submit_feedback, submit_many

__all__ = [
    "Answer",
    "ImportReport",
    "Passage",
    "claim_ahead",
    "claim_next",
    "close_batch",
    "decline",
    "expire_claims",
    "import_prompts",
    "import_rollouts",
    "load_ready",
    "open_claim",
    "reassign",
    "record_proxy_grades",
    "record_reward_verdicts",
    "record_rollouts",
    "release",
    "release_many",
    "remove_gold",
    "renew_claim",
    "reopen",
    "reveal",
    "revise_feedback",
    "save_domain",
    "save_draft",
    "select_batch",
    "set_gold",
    "set_priority",
    "submit_feedback",
    "submit_many",
]
