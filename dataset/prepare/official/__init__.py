"""Readers of official annotations, one module per dataset."""
