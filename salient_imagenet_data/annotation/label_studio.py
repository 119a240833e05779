"""Answers as tasks of Label Studio, and back: its JSON format, one task a pair."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from salient_imagenet_data.annotation.answers import Answer
from salient_imagenet_data.annotation.files import NOBODY, check_answers, parse_answer
from salient_imagenet_data.errors import SalientError
from salient_imagenet_data.names import ANSWERS

CONFIG = (
    '<View><Header value="$class_name, feature $feature_index"/>'
    '<Text name="images" value="$images"/>'
    '<Choices name="answer" toName="images" required="true">'
    + "".join(f'<Choice value="{answer}"/>' for answer in ANSWERS)
    + '</Choices><Rating name="confidence" toName="images" maxRating="5"/>'
    '<TextArea name="reason" toName="images" maxSubmissions="1"/></View>'
)
"""The labelling interface whose names the tasks use."""
_PAIR = ("class_name", "class_index", "feature_index", "feature_rank")


def tasks_of(answers: Iterable[Answer], shown: Mapping[tuple[int, int], Iterable[str]]) -> list[dict[str, Any]]:
    """One task a pair, with an annotation of each person. shown: image ids of a pair, by class and feature index."""
    by_pair: defaultdict[tuple[int, int], list[Answer]] = defaultdict(list)
    for answer in answers:
        by_pair[answer.class_index, answer.feature_index].append(answer)
    tasks = []
    for pair, given in by_pair.items():
        data = {name: getattr(given[0], name) for name in _PAIR}
        data["images"] = " ".join(shown.get(pair, ()))
        tasks.append({"data": data, "annotations": [_annotation(answer) for answer in given]})
    return tasks


def _annotation(answer: Answer) -> dict[str, Any]:
    results = [_result("answer", "choices", [answer.answer])]
    if answer.confidence is not None:
        results.append(_result("confidence", "rating", answer.confidence))
    if answer.reason:
        results.append(_result("reason", "textarea", [answer.reason]))
    return {"completed_by": {"email": answer.annotator}, "result": results}


def _result(name: str, kind: str, value: object) -> dict[str, Any]:
    key = "text" if kind == "textarea" else kind
    return {"from_name": name, "to_name": "images", "type": kind, "value": {key: value}}


def read_tasks(path: str | Path) -> list[Answer]:
    """The answers of a file that Label Studio exported as JSON. An annotation without an answer is left out. Raises
    SalientError naming the task, 1 being the first."""
    try:
        tasks = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SalientError(f"{path}: not a JSON file of tasks", got=str(error)[:200]) from error
    if not isinstance(tasks, list):
        raise SalientError(f"{path}: not a list of tasks", got=type(tasks).__name__)
    found: list[tuple[int, Answer]] = []
    for number, task in enumerate(tasks, start=1):
        place = f"{path}, task {number}"
        try:
            fields = {name: task["data"][name] for name in _PAIR}
            annotations = [a for a in task.get("annotations", []) if not a.get("was_cancelled")]
            said = [_said(annotation) for annotation in annotations]
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            got = f"{type(error).__name__}: {error}"
            expected = f"data with {', '.join(_PAIR)}, annotations with result"
            raise SalientError(f"{place}: not a task of ours", expected=expected, got=got) from error
        found += [(number, parse_answer(fields | one, place)) for one in said if one["answer"]]
    check_answers(found, str(path))
    return [answer for _, answer in found]


def _said(annotation: Mapping[str, Any]) -> dict[str, object]:
    who = annotation.get("completed_by", NOBODY)
    name = who.get("email") or who.get("id") if isinstance(who, dict) else who
    said: dict[str, object] = {"annotator": str(name), "answer": "", "confidence": None, "reason": ""}
    for result in annotation["result"]:
        key, value = result["from_name"], result["value"]
        if key == "answer":
            (said["answer"],) = value["choices"][:1] or [""]
        elif key == "confidence":
            said["confidence"] = value["rating"]
        elif key == "reason":
            said["reason"] = " ".join(value["text"])
    return said
