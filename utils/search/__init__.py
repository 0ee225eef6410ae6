"""A search as it runs: exploring transitions by training, its journal, and what it reports."""
