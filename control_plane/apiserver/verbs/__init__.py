"""The verbs of the API on stored kinds, one file each; `pipeline.py` calls them after authorisation."""
