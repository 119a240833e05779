"""The command about labels that may be wrong."""
