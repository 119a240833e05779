"""Text files that people type, or edit in a spreadsheet and save."""
