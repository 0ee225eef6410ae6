"""Figures and HTML pages of results, drawn by matplotlib without pyplot. No torch."""
