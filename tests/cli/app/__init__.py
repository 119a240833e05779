"""Tests of the commands that open pages in the browser."""
