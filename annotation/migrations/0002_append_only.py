"""What was said is never edited: the database refuses it, whoever asks."""

from django.db import migrations

REFUSE = """
CREATE FUNCTION annotation_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: a row is never changed, a correction is a new one', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER feedback_is_append_only BEFORE UPDATE ON annotation_feedback FOR EACH ROW
    WHEN (to_jsonb(OLD) - 'current' - 'counted' IS DISTINCT FROM to_jsonb(NEW) - 'current' - 'counted')
    EXECUTE FUNCTION annotation_refuse_change();
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON annotation_auditentry FOR EACH ROW EXECUTE FUNCTION annotation_refuse_change();
"""
ALLOW = """
DROP TRIGGER audit_is_append_only ON annotation_auditentry;
DROP TRIGGER feedback_is_append_only ON annotation_feedback;
DROP FUNCTION annotation_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("annotation", "0001_initial")]
    operations = [migrations.RunSQL(REFUSE, ALLOW)]
