"""What the API for reviewers is sent and answers, as its documentation shows it. The routes are in `annotation.api`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from annotation.actions import Passage
from annotation.actions.verdicts import KEY_LENGTH
from annotation.forms import MOST_SPANS
from annotation.models import Claim, Feedback, Span

EXTRA = "Kept as an extra verdict: somebody else had judged that text after your lease ended, or it is not wanted any more."
REVOKED = "You are no longer on the panel that judges this text, so nothing more of it is taken."
MOST_ROWS = 2**63 - 1
MOST_PLACES = 2**31 - 1


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField(help_text="For programs: invalid, draft_conflict, already_answered, key_used, claim_lost, not_found, ...")
    message = serializers.CharField(help_text="For people.")
    fields = serializers.DictField(child=serializers.ListField(child=serializers.CharField()), help_text="What is wrong, by field.")  # type: ignore[assignment]


class Number(serializers.FloatField):
    """A float; true and false are none, and what no float can hold is an error, not a crash."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool):
            self.fail("invalid")
        try:
            return super().to_internal_value(data)
        except OverflowError:
            self.fail("invalid")


class Words(serializers.CharField):
    """Text that is kept as it is written."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {"allow_blank": True, "required": False, "default": "", "trim_whitespace": False}
        super().__init__(**usual | options)


class SpanSerializer(serializers.Serializer):
    """A passage of the text: its Unicode code points from `start` up to, not including, `end`."""

    start = serializers.IntegerField(min_value=0, max_value=MOST_PLACES)
    end = serializers.IntegerField(min_value=1, max_value=MOST_PLACES)
    quote = Words(required=True, default=serializers.empty, help_text="The passage itself; it must match.")
    sign = serializers.ChoiceField(Span.Sign.choices, help_text="A strength or a weakness.")
    comment = Words()


class DraftSerializer(serializers.Serializer):
    critique = Words()
    deliberation = Words()
    score = serializers.CharField(allow_blank=True, required=False, default="", max_length=20, help_text="As typed; it need not be a number yet.")
    spans = serializers.ListField(
        child=serializers.DictField(), required=False, default=list, max_length=MOST_SPANS, help_text="As in a verdict, checked when it is submitted."
    )
    version = serializers.IntegerField(
        min_value=0, max_value=MOST_PLACES, required=False, default=0, help_text="Of the draft that this one grew from; 0: none."
    )
    saved = serializers.DateTimeField(read_only=True)


class SavedSerializer(serializers.Serializer):
    version = serializers.IntegerField(help_text="Send it with the next save.")
    saved = serializers.DateTimeField()
    expires = serializers.DateTimeField(help_text="The lease; saving renews it.")


class ScaleSerializer(serializers.Serializer):
    min = serializers.FloatField()
    max = serializers.FloatField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    anchors = serializers.ListField(child=serializers.CharField(), help_text="Words along the scale, low to high.")


class ClaimSerializer(serializers.Serializer):
    """Describes what `READ` brings."""

    token = serializers.UUIDField(help_text="Names the claim in every address below claims/.")
    item = serializers.IntegerField()
    batch = serializers.IntegerField()
    domain = serializers.CharField()
    purpose = serializers.CharField(help_text="What the verdict is for.")
    why = serializers.CharField(help_text="Why this text was chosen; may be empty.")
    prompt = serializers.CharField(help_text="What the writer was asked.")
    content = serializers.CharField(help_text="The text to judge.")
    finished = serializers.BooleanField(help_text="False where the text breaks off at its length limit.")
    score = ScaleSerializer(help_text="The range of the score.")
    guidelines = serializers.CharField(help_text="Markdown.")
    expires = serializers.DateTimeField(help_text="The lease: from then on the text may go to somebody else.")
    outcome = serializers.ChoiceField([("", "open"), *Claim.Outcome.choices], help_text="Empty while the claim is open.")
    draft = DraftSerializer(allow_null=True, help_text="What you have saved on this item so far.")


class ClaimRequestSerializer(serializers.Serializer):
    batch = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=MOST_ROWS, help_text="Only of this batch.")


class LeaseSerializer(serializers.Serializer):
    expires = serializers.DateTimeField()


class EndedSerializer(serializers.Serializer):
    token = serializers.UUIDField()
    outcome = serializers.ChoiceField(Claim.Outcome.choices)


class VerdictRequestSerializer(serializers.Serializer):
    key = serializers.CharField(
        required=False, max_length=KEY_LENGTH, help_text="Instead of the header Idempotency-Key: a text of your own; the same one again lands once."
    )
    critique = Words(help_text="What works, what does not, and why.")
    deliberation = Words(help_text="How the critique becomes a score.")
    score = Number(required=False, allow_null=True, default=None)
    spans = serializers.ListField(child=SpanSerializer(), required=False, default=list, max_length=MOST_SPANS)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        sent = self.context["request"].headers.get("Idempotency-Key", "")
        key = values.setdefault("key", sent)
        problem = ""
        if not key:
            problem = "Send a key, here or as the header Idempotency-Key: the same key lands once."
        elif sent and sent != key:
            problem = "The header Idempotency-Key says something else."
        elif len(key) > KEY_LENGTH or not key.isprintable():
            problem = f"Use 1 to {KEY_LENGTH} printable characters."
        if problem:
            raise serializers.ValidationError({"key": problem})
        return values | {"spans": [Passage(**span) for span in values["spans"]]}


class RevisionRequestSerializer(VerdictRequestSerializer):
    reason = Words(help_text="Why it changes. Everything else is as in a verdict, and stands in place of all that was said before.")


class DeclineRequestSerializer(serializers.Serializer):
    reason = serializers.ChoiceField(Claim.Decline.choices)
    words = Words(help_text="In your own words; needed for the reason other.")


class ReceiptSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="pk", help_text="Of the verdict, in the addresses below verdicts/.")
    item = serializers.IntegerField(source="item_id")
    revision = serializers.IntegerField()
    counted = serializers.BooleanField(help_text="False for an extra verdict: kept, but somebody else's counts.")
    message = serializers.SerializerMethodField(help_text="For people; empty where there is nothing to say.")
    score = serializers.FloatField(allow_null=True)
    submitted = serializers.DateTimeField()

    def get_message(self, feedback: Feedback) -> str:
        return "" if feedback.counted else EXTRA


class VerdictSerializer(serializers.Serializer):
    id = serializers.IntegerField(source="pk")
    item = serializers.IntegerField(source="item_id")
    batch = serializers.IntegerField(source="item.batch_id")
    domain = serializers.CharField(source="item.batch.domain.slug")
    revision = serializers.IntegerField()
    counted = serializers.BooleanField()
    score = serializers.FloatField(allow_null=True)
    critique = serializers.CharField()
    deliberation = serializers.CharField()
    spans = SpanSerializer(many=True)
    assisted = serializers.BooleanField(help_text="Written after you compared it with what others said.")
    reason = serializers.CharField(help_text="Why it stands in place of an earlier revision.")
    started = serializers.DateTimeField()
    submitted = serializers.DateTimeField()


class WaitingSerializer(serializers.Serializer):
    """A batch that waits; counts are in items."""

    id = serializers.IntegerField(source="batch.pk")
    domain = serializers.CharField(source="batch.domain.slug")
    name = serializers.CharField(source="batch.domain.name")
    purpose = serializers.CharField()
    why = serializers.CharField()
    total = serializers.IntegerField()
    done = serializers.IntegerField()
    left = serializers.IntegerField(help_text="Those that you could be handed.")
    mine = serializers.IntegerField(help_text="Judged by you.")
    mine_today = serializers.IntegerField()
    claim = serializers.UUIDField(source="open_token", allow_null=True, help_text="The token of the text that you have open.")


class QueueSerializer(serializers.Serializer):
    today = serializers.IntegerField(help_text="Verdicts of yours since midnight.")
    batches = WaitingSerializer(many=True)


ERRORS = {
    400: ("The body is no JSON.", "parse_error", "JSON parse error - Expecting value: line 1 column 1 (char 0)", {}),
    401: ("No token, or one that is not valid.", "not_authenticated", "Authentication credentials were not provided.", {}),
    403: ("Not a reviewer, or no longer on the panel.", "not_on_the_panel", REVOKED, {}),
    404: ("Not there, or not yours.", "not_found", "There is no such thing here for you.", {}),
    409: ("It is answered already, or the key belongs to another verdict.", "already_answered", "This item was already submitted.", {}),
    410: ("The claim is over.", "claim_lost", "Your time with this item ran out and it went on to somebody else.", {}),
    413: ("The body is too large.", "too_large", "Send at most 10,485,760 bytes.", {}),
    415: ("The body is not sent as application/json.", "unsupported_media_type", 'Unsupported media type "text/plain" in request.', {}),
    422: ("Something is wrong with what was sent.", "invalid", "score: Give a score from 0 to 100.", {"score": ["Give a score from 0 to 100."]}),
}


class ConflictSerializer(ErrorSerializer):
    draft = DraftSerializer(required=False, help_text="With the code draft_conflict: the draft that is stored.")


def refusals(*numbers: int) -> dict[int, Any]:
    """The answers to what goes wrong, for the schema."""
    found: dict[int, Any] = {}
    for number in (401, *numbers):
        description, code, message, fields = ERRORS[number]
        example = OpenApiExample(code, {"code": code, "message": message, "fields": fields}, response_only=True, status_codes=[str(number)])
        found[number] = OpenApiResponse(ErrorSerializer, description=description, examples=[example])
    return found


BODY = (400, 413, 415, 422)
KEY_HEADER = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="A text of your own; the same one again lands once.")
CRITIQUE = "The last line answers the first, and the ledger is more than a prop. The boatman is a type."
SPAN = {"start": 0, "end": 24, "quote": "Every keeper of Skarn li", "sign": "+", "comment": "a place at once"}
VERDICT_EXAMPLE = OpenApiExample(
    "A verdict", {"key": "ledger-17", "critique": CRITIQUE, "score": 62, "spans": [SPAN]}, request_only=True, description="With a highlight."
)
DRAFT_EXAMPLE = OpenApiExample("A draft", {"critique": "The last line", "score": "", "version": 1}, request_only=True)
DECLINE_EXAMPLE = OpenApiExample("A conflict of interest", {"reason": "conflict", "words": "I know the author"}, request_only=True)
REVISION_EXAMPLE = OpenApiExample(
    "A revision", {"key": "ledger-17b", "critique": CRITIQUE, "score": 58, "reason": "I had missed the anachronism"}, request_only=True
)
CLAIM_EXAMPLE = OpenApiExample(
    "A text to judge",
    {
        "token": "2f6b1f0e-5d0c-4c58-9a0e-5a4f7b8f2f10",
        "item": 17,
        "batch": 3,
        "domain": "short-stories",
        "purpose": "to teach the grader",
        "why": "Chosen where the grader is least sure.",
        "prompt": "Write a story about the lighthouse ledger.",
        "content": "Every keeper of Skarn light had written in the same ledger, and every keeper had lied in it.",
        "finished": True,
        "score": {"min": 0, "max": 100, "required": True, "anchors": ["incoherent", "competent", "publishable"]},
        "guidelines": "Read the whole story before you write.",
        "expires": "2026-11-24T12:05:00Z",
        "outcome": "",
        "draft": None,
    },
    response_only=True,
    status_codes=["200", "201"],
)
