"""The torch side: each module is a job, `python -m training.engine.rl FOLDER`. No Django, no database."""
