"""Pictures that people look at: heat maps, tiles, charts and pages. No torch."""
