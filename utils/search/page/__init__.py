"""Draw a search: search.html, and figures for papers. No torch."""
