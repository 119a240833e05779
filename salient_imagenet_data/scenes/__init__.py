"""Procedural scenes with known truth: each image comes with its exact core and spurious pixels."""

from salient_imagenet_data.scenes.render import CLASSES, SceneClass, render
from salient_imagenet_data.scenes.source import SceneSource

__all__ = ["CLASSES", "SceneClass", "SceneSource", "render"]
