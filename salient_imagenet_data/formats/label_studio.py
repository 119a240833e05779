"""Label Studio: `tasks.json` with a brush region a mask as a prediction, and `labelling.xml`, the interface they fit.

Pictures are referred to as Label Studio's local files, below the folder that its `LOCAL_FILES_DOCUMENT_ROOT` names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from salient_imagenet_data.formats.about import About, Format, Pictures, compact, write_list
from salient_imagenet_data.formats.masked import Masked
from salient_imagenet_data.formats.rle import brush
from salient_imagenet_data.formats.unit import Unit, Written
from salient_imagenet_data.names import KINDS
from salient_imagenet_data.whole_file import whole_file, write_text

FILE, INTERFACE, TASKS = "tasks.json", "labelling.xml", "tasks"
_COLOURS = {"core": "#0072B2", "spurious": "#D55E00"}
CONFIG = (
    '<View><Image name="image" value="$image" zoom="true"/><BrushLabels name="mask" toName="image">'
    + "".join(f'<Label value="{kind}" background="{_COLOURS[kind]}"/>' for kind in KINDS)
    + "</BrushLabels></View>\n"
)


def _write(written: Written, images: Iterator[Masked], about: About, pictures: Pictures | None) -> None:
    lines = []
    for image in images:
        results = []
        for kind, mask in image.masks.items():
            inside = about.inside(mask)
            if not inside.any():
                written.counts[f"{kind} masks left out, below the threshold everywhere"] += 1
                continue
            value = {"format": "rle", "rle": list(brush(inside)), "brushlabels": [kind]}
            results.append(
                {
                    "id": f"{image.row}-{kind}",
                    "type": "brushlabels",
                    "from_name": "mask",
                    "to_name": "image",
                    "original_width": image.width,
                    "original_height": image.height,
                    "image_rotation": 0,
                    "value": value,
                }
            )
            written.counts[f"{kind} masks"] += 1
        data = {
            "image": f"/data/local-files/?d={quote(image.file)}",
            "image_id": image.image_id,
            "class_name": image.class_name,
            "class_words": image.class_words,
            "valid": list(image.valid),
        }
        lines.append(compact({"data": data, "predictions": [{"model_version": _version(about), "result": results}]}))
        written.counts["images"] += 1
    written.lines(TASKS, lines)


def _version(about: About) -> str:
    return f"salient-imagenet {about.data_version}, threshold {about.threshold:g}"


def _finish(folder: Path, units: list[Unit], about: About) -> None:
    with whole_file(folder / FILE) as file:
        file.write(b"[")
        write_list(file, units, TASKS)
        file.write(b"\n]\n")
    write_text(folder / INTERFACE, CONFIG)


LABEL_STUDIO = Format("label-studio", _write, _finish, "named", thresholded=True)
