"""Pages, figures and the leaderboard."""
