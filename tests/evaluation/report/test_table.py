"""What an evaluation prints, by value, also of its result in Python."""

from __future__ import annotations

from salient_imagenet_data.evaluation.report.table import table
from salient_imagenet_data.evaluation.score.results import Against
from tests.evaluation.results import claim, condition, model, near, ratio


def test_every_figure_of_a_model_is_a_line_under_its_column() -> None:
    name, long = "noise_0.5@spurious", "n" * 29
    first = model(
        "runs/a.pt",
        conditions=(condition(name, 0.4), condition(name + "_random", 0.7)),
        controls=(claim(name, near(0.5), Against(near(0.1), near(0.4))),),
        ratios={"rcs": (ratio("noise_0.5", "", 0.25), ratio("noise_0.5", "random", 0.75))},
        spurious_gap=near(0.05),
    )
    lines = table([first, model("b" * 28), model(long)], 10).splitlines()
    assert lines[0].startswith("a.pt: Clean accuracy 0.900.") and lines[4] == ""
    assert lines[5] == (
        "model                        figure                                              n classes   value  "
        "95 % interval    clean"
    )
    assert lines[6:12] == [
        "a.pt                         clean accuracy                                    100      10   0.900  [0.850, 0.950]",
        "a.pt                         core accuracy, noise 0.5                          100      10   0.400  "
        "[0.350, 0.450]     0.900",
        "a.pt                         RCS, noise 0.5                                    100      10   0.250  "
        "[0.200, 0.300]  of 0.800 outside, 0.600 inside",
        "a.pt                         spurious gap                                      100      10   0.050  [0.000, 0.100]",
        "a.pt                         noise 0.5 on the spurious pixels: What noise_0.5@spurious says.",
        "b" * 28 + " clean accuracy                                    100      10   0.900  [0.850, 0.950]",
    ]
    assert lines[12].startswith("…" + "n" * 27 + " clean accuracy")
    assert lines[13:] == ["accuracies are means over classes; clean: of the same images without corruption"]


def test_a_result_in_python_is_that_table_also_in_a_notebook() -> None:
    result = model("<b>", classes=10)
    assert str(result) == table([result], 10)
    assert result._repr_html_() == "<pre>" + table([result], 10).replace("<", "&lt;").replace(">", "&gt;") + "</pre>"
