"""From one format of videos to another."""
