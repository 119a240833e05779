"""Where images come from: sources, their layouts on disk, and how bytes become RGB pixels."""
