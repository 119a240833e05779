"""Every training method and every measure at once, on one store: which measure orders the methods as the truth does."""
