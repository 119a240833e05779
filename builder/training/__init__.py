"""Adversarial fine-tuning of any pretrained classifier on one's own photographs."""
