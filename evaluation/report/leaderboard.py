"""One static page over many evaluations: a sortable table for each store. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.evaluation.plan.regions import rank_of
from salient_imagenet_data.evaluation.report.page import ROOM
from salient_imagenet_data.evaluation.score.together import SUMMARY_FORMAT
from salient_imagenet_data.folds import WHOLE
from salient_imagenet_data.pictures.page import render
from salient_imagenet_data.whole_file import write_text

PAGE = "leaderboard.html"


def read_summaries(folder: Path) -> list[dict[str, Any]]:
    """The evaluations in the .json files at and below a folder, by path; other JSON files are passed over.

    Raises SalientError for a file that is no JSON, or a folder without an evaluation.
    """
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SalientError(f"{path}: not JSON", got=str(error)) from error
        if isinstance(content, dict) and content.get("format") == SUMMARY_FORMAT:
            found.append(content)
    if not found:
        raise SalientError(
            f"{folder}: no evaluation in it", expected="report.json files", then="run `salient-imagenet evaluate --out`"
        )
    return found


def boards(summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One table a store (its weights, annotations and split) and fold: columns, and rows sorted by the first of them.

    Raises SalientError where one store has two different results of one model.
    """
    tables: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        store = summary["store"]
        store.setdefault("fold", str(WHOLE))  # older reports are of all images
        key = json.dumps([store[k] for k in ("weights_sha256", "annotations_sha256", "split", "images", "fold")])
        rows = tables.setdefault(key, {"store": store, "rows": {}})["rows"]
        for model in summary["models"]:
            model.setdefault("fold", store["fold"])
            if rows.setdefault(model["name"], model) != model:
                raise SalientError(
                    f"two different results of {model['name']} on {store['name']}", then="keep one of them"
                )
    return [_board(table["store"], list(table["rows"].values())) for table in tables.values()]


def _board(store: dict[str, Any], models: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [{"name": model["name"], "cells": cells(model)} for model in models]
    columns = list(dict.fromkeys(column for row in rows for column in row["cells"]))
    rows.sort(key=lambda row: (-row["cells"][columns[0]]["value"], row["name"]))
    return {"store": store, "columns": columns, "rows": rows}


def cells(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A model's figures by column: estimates as dicts."""
    found = {"clean": model["clean_accuracy"]}
    for condition in model["conditions"]:
        if not condition["control"] and rank_of(condition["region"]) is None:
            found[condition["name"]] = condition["accuracy"]
    for control in model["controls"]:
        if control["random"]:
            found[f"excess over random, {control['name']}"] = control["random"]["excess"]
    for protocol, ratio in (("corm2022", "rcs"), ("rival2022", "rfs")):
        for row in model.get(protocol, ()):  # older reports lack a later protocol
            if not row["control"]:
                sides = [row[side]["value"] for side in ("accuracy_outside", "accuracy_inside")]
                beside = f"{sides[0]:.3f} outside, {sides[1]:.3f} inside" + (", saturated" if row["saturated"] else "")
                found[f"{ratio.upper()}, {row['corruption']}"] = {**row[ratio], "beside": beside}
    if model["spurious_gap"]:
        found["spurious gap"] = model["spurious_gap"]
    return found


def write_leaderboard(folder: Path, out: Path) -> int:
    """Write the page over all evaluations below `folder`; returns how many models are on it."""
    tables = boards(read_summaries(folder))
    write_text(out, render(ROOM, "leaderboard.html", boards=tables))
    return sum(len(table["rows"]) for table in tables)
