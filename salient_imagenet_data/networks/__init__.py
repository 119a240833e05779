"""The one place where networks are opened, with their preprocessing, head and last grid."""
