"""Dataset preparation, `python -m dataset.prepare`: lists, conversions, checks, and a record for your own videos."""
