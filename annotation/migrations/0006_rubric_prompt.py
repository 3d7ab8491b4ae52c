from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('annotation', '0005_provider_batches'),
    ]

    operations = [
        migrations.AddField(
            model_name='domain',
            name='rubric_prompt',
            field=models.TextField(blank=True, help_text="What a strong model is asked that writes a grading prompt. {EXAMPLES} stands for texts with the expert's and the proxy's traces."),
        ),
    ]
