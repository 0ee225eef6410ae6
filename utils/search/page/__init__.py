"""A search drawn: search.html, and pictures for papers. No torch."""
