"""The only writers of this app's rows. Each is one transaction, leaves an audit entry, and sends its news after the commit.

Rows are locked in one order, so that no two actions wait for each other: claims, then batches, then items, each by
id. Handing out items and ending stale claims skip what is locked.
"""

from annotation.actions.batches import close_batch, reopen, select_batch
from annotation.actions.claims import claim_next, expire_claims, release, release_many, renew_claim, skip
from annotation.actions.drafts import save_draft
from annotation.actions.importing import ImportReport, import_prompts
from annotation.actions.recording import record_proxy_grades, record_reward_verdicts, record_rollouts
from annotation.actions.verdicts import Answer, Passage, revise_feedback, submit_feedback, submit_many

__all__ = [
    "Answer",
    "ImportReport",
    "Passage",
    "claim_next",
    "close_batch",
    "expire_claims",
    "import_prompts",
    "record_proxy_grades",
    "record_reward_verdicts",
    "record_rollouts",
    "release",
    "release_many",
    "renew_claim",
    "reopen",
    "revise_feedback",
    "save_draft",
    "select_batch",
    "skip",
    "submit_feedback",
    "submit_many",
]
