"""Protocols and metrics: how much of a classifier's accuracy stands on core, how much on spurious pixels."""
