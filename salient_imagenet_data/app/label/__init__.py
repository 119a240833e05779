"""Answering, pair by pair: who is asked what next, a file of answers that only grows, and how far people agree."""
