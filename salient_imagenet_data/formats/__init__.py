"""Masks of a store in the formats of other tools: COCO, FiftyOne, WebDataset, Label Studio."""
