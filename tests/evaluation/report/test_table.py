"""What an evaluation prints, by value, also of its result in Python."""

from __future__ import annotations

from salient_imagenet_data.evaluation.report.table import table
from salient_imagenet_data.evaluation.score.results import Against
from tests.evaluation.results import claim, condition, gap, grouped, model, near, ratio


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


def test_groups_and_gaps_of_features_are_lines_and_the_rule_is_said_once() -> None:
    first = model("a", groups=grouped(0.7, 0.9, 0.4, 0.8, adjusted=0.75), feature_gaps=(gap(0, 0.9, 0.2),))
    lines = table([first, model("b", groups=grouped(0.6, 0.8))], 10).splitlines()
    at = next(i for i, line in enumerate(lines) if "clean accuracy       " in line)
    assert [line[29:75].strip() for line in lines[at + 1 : at + 5]] == [
        "worst-group accuracy",
        "mean of groups weighed alike",
        "mean of groups weighed by size",
        "mean of groups weighed as in other data",
    ]
    assert lines[at + 1].endswith("0.400  [0.350, 0.450]  class 1, cue hidden")
    assert " 0.700  " in lines[at + 2] and " 0.710  " in lines[at + 3] and " 0.750  " in lines[at + 4]
    assert lines[at + 5].startswith("a                            gaps of 1 features: 1 lift accuracy")
    assert lines[-2] == (
        "groups: (class, cue shown or hidden), counted in the place of classes; "
        "shown are the 0.5 of a class with the highest spuriosity"
    )
    assert sum(line.startswith("groups:") for line in lines) == 1


def test_a_result_in_python_is_that_table_also_in_a_notebook() -> None:
    result = model("<b>", classes=10)
    assert str(result) == table([result], 10)
    assert result._repr_html_() == "<pre>" + table([result], 10).replace("<", "&lt;").replace(">", "&gt;") + "</pre>"
