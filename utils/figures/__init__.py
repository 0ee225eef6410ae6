"""Pictures of results, drawn by matplotlib without pyplot. No torch."""
