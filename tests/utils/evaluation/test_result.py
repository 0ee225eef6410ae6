"""Results and figures: the displayed numbers are the computed ones."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dataset.listing import VideoRecord, list_of
from tests.conftest import ROOT, MakeRecord
from tests.utils.evaluation.test_scores import make_manifest
from utils.config import load_config
from utils.evaluation.protocol import History, Trained
from utils.evaluation.result import build_result, render_summary, render_text
from utils.evaluation.score_index import index_scores
from utils.figures.confusion import confusion_figure
from utils.figures.curves import curves_figure
from utils.figures.style import save_figure
from utils.jsonl import write_lines
from utils.metrics import ViewMetrics
from utils.text import versions
from utils.training.epoch_lines import read_epochs


def make_result(
    *,
    num_classes: int = 6,
    missing: int = 0,
    classes_used: int | None = None,
    training_progress: tuple[int, int] | None = None,
    trained: Trained | None = None,
    **changes: Any,
) -> Any:
    """A result of 40 scored videos with random scores, and `missing` ones of class 0."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % (classes_used or num_classes)
    scores = rng.random((40, 3, 4, num_classes), dtype=np.float32)
    scores[np.arange(40), :, :, labels] += 0.1
    metrics = ViewMetrics(num_classes)
    metrics.add(scores, labels)
    listed = [*labels.tolist(), *(0 for _ in range(missing))]
    result = build_result(
        load_config(ROOT / "record/synthetic-dg-p3d-resnet18.yml"),
        list_of([VideoRecord(f"v{number}.mp4", 1, label) for number, label in enumerate(listed)], path="list.txt"),
        index=index_scores(Path("none"), make_manifest(num_classes=num_classes, num_videos=len(listed), num_clips=4)),
        metrics=metrics.result(),
        missing=dict.fromkeys(range(40, len(listed)), "no such file"),
        class_names=[f"class {number}" for number in range(num_classes)],
        history=History(trained, training_progress),
    )
    return {**result, **changes}


def test_the_result_is_plain_json_that_reads_back_equal() -> None:
    result = make_result(missing=2, classes_used=5)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_missing_videos_count_as_wrong_in_a_separate_row() -> None:
    result = make_result(missing=10)
    scored, wrong = result["metrics"]["video"], result["metrics"]["video_missing_counted_wrong"]
    for key in ("top1", "top3", "top5"):
        assert wrong[key] == pytest.approx(scored[key] * 40 / 50)
    accuracies = [entry["accuracy"] for entry in result["classes"]]
    accuracies[0] *= result["classes"][0]["videos"] / (result["classes"][0]["videos"] + 10)
    assert wrong["mean_class"] == pytest.approx(sum(accuracies) / 6)
    assert result["protocol"]["num_missing"] == 10
    assert result["missing"][3] == {"path": "v43.mp4", "cause": "no such file"}


def test_nothing_missing_makes_the_two_rows_equal() -> None:
    metrics = make_result()["metrics"]
    wrong = metrics["video_missing_counted_wrong"]
    assert wrong.keys() == {"top1", "top3", "top5", "mean_class"}
    assert {name: metrics["video"][name] for name in wrong} == pytest.approx(wrong)


def test_a_class_without_videos_is_none_and_is_reported() -> None:
    result = make_result(classes_used=4)
    assert [entry["accuracy"] is None for entry in result["classes"]] == [False] * 4 + [True] * 2
    assert "omits 2 classes without a scored video" in render_summary(result)
    assert re.search(r"class 5 +no video", render_text(result, ""))


def test_the_text_holds_every_accuracy_of_the_table() -> None:
    result = make_result(missing=1)
    text = render_text(result, "optimizer:\n  epochs: 3\n")
    for row in ("video", "video_missing_counted_wrong", "clip", "max_top_k"):
        values = result["metrics"][row]
        cells = " +".join(re.escape(f"{100 * values[key]:.2f} %") for key in ("top1", "top3", "top5"))
        assert re.search(cells, text), row
    assert "Missing videos (1 of 41)\n  v40.mp4: no such file" in text
    assert "  optimizer:\n    epochs: 3" in text
    assert "a" * 64 in text  # the checkpoint's digest
    assert f"numpy {np.__version__}" in text


def test_the_text_says_that_the_k_of_max_top_k_is_chosen_on_the_labels() -> None:
    text = render_summary(make_result())
    assert re.search(r"video, logits: max-top-k mean, k = \d of 4 clips \(\*\)", text)
    assert "chosen for the best top-1" in text
    assert "optimistic: quote the first row" in text


@pytest.mark.parametrize(
    ("num_classes", "said"),
    [
        (2, "With 2 classes top-3 and top-5 are top-1."),
        (3, "With 3 classes top-3 and top-5 are top-2."),
        (4, "With 4 classes top-5 is top-3."),
        (5, "With 5 classes top-5 is top-4."),
        (6, ""),
    ],
)
def test_a_capped_top_k_is_reported(num_classes: int, said: str) -> None:
    result = make_result(num_classes=num_classes)
    lines = [line for line in render_summary(result).splitlines() if line.startswith("With ")]
    assert lines == [said] * bool(said)
    assert result["metrics"]["clip"]["top5"] < 1  # 480 views
    assert result["protocol"]["top_k"] == {"top1": 1, "top3": min(3, num_classes - 1), "top5": min(5, num_classes - 1)}


def test_every_row_names_its_scores() -> None:
    result = make_result()
    made = result["protocol"]["score"]
    assert set(made) == {"video", "clip", "max_top_k"}
    assert "probabilities" in made["video"]
    assert "logits as in the released code" in made["max_top_k"]
    text = render_text(result, "")
    assert "video: mean of all 12 views' probabilities" in text
    for row, words in made.items():
        assert re.search(rf"  (score)? +{row}: {re.escape(words)}\n", text)


def test_training_differences_are_in_the_text_when_there_are_any() -> None:
    assert "Trained with another" not in render_text(make_result(), "")
    text = render_text(make_result(training_differences=["optimizer.epochs: was 2, is 3"]), "")
    assert "Trained with another configuration\n  optimizer.epochs: was 2, is 3" in text


def test_weights_of_an_incomplete_training_are_reported() -> None:
    assert "  trained " not in render_text(make_result(), "")
    assert "6 of 6 epochs\n" in render_text(make_result(training_progress=(6, 6)), "")
    assert "2 of 6 epochs: THE TRAINING IS NOT COMPLETE" in render_text(make_result(training_progress=(2, 6)), "")


def test_the_cost_of_training_is_reported_by_state_and_in_total(make_record: MakeRecord) -> None:
    config = load_config(make_record())
    lines = [{**line, "multiply_adds": 36 * 10**9} for line in make_epochs(states=2, epochs=3, validation=False)]
    result = make_result(trained=Trained(config, lines))
    one = {"seconds": 9.0, "clips": 108, "frames": 864, "multiply_adds": 108 * 10**9}
    states = [{"state": number, **one} for number in (1, 2)]
    assert result["cost"] == {"states": states, "run": {key: 2 * value for key, value in one.items()}}
    text = render_text(result, "")
    assert "training took  18.0 s, 216 clips, 1,728 frames, 216 G multiply-adds forward\n" in text
    assert "state 2: 9.0 s, 108 clips, 864 frames, 108 G multiply-adds forward\n" in text
    older = make_result(
        trained=Trained(config, make_epochs(validation=False))
    )  # a log from before multiply-adds were counted
    assert older["cost"]["run"] == {"seconds": 12.0, "clips": 144, "frames": 1152, "multiply_adds": None}
    assert make_result(trained=None)["cost"] is None


def test_versions_are_those_of_the_modules() -> None:
    found = versions()
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert set(found) >= {"torch", "torchvision", "av"}


def test_epochs_are_read_up_to_a_truncated_line(tmp_path: Path) -> None:
    assert read_epochs(tmp_path) == []
    write_lines(tmp_path / "log.jsonl", [{"epoch": 1}, {"epoch": 2}])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"epo')
    assert read_epochs(tmp_path) == [{"epoch": 1}, {"epoch": 2}]


def make_epochs(*, states: int = 1, epochs: int = 4, validation: bool = True, **changes: Any) -> list[dict[str, Any]]:
    lines = []
    for number in range(states * epochs):
        line = {
            "state": number // epochs, "epoch": number % epochs + 1, "total_epoch": number + 1,
            "train_loss": 2.0 / (number + 1), "learning_rate": 0.02 / 10 ** (number // epochs), "clips": 36,
            "clips_per_second": 50.0, "data_wait_share": 0.1, "seconds": 3.0, "num_frames": 8, "skipped": 0,
        }  # fmt: skip
        if validation and number % 2:
            line |= {"eval_top1": 10.0 * number, "eval_top3": 10.0 * number + 5, "eval_top5": 10.0 * number + 6}
        lines.append({**line, **changes})
    return lines


def texts(figure: Figure) -> list[str]:
    """Everything written in a figure."""
    from matplotlib.text import Text

    return [artist.get_text() for artist in figure.findobj(Text)]


def save(figure: Figure, path: Path) -> np.ndarray:
    """Save a figure and read the picture back."""
    save_figure(figure, path)
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_small_confusion_matrix_has_the_fractions_of_each_row(tmp_path: Path) -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 1, 2]])
    figure = confusion_figure(confusion, class_names=["a", "b", "c"], title="T", subtitle="S")
    picture = save(figure, tmp_path / "c.png")
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["75", "25", "25", "25", "50"]
    assert picture.shape[0] > 300
    assert {"T", "S", "a", "b", "c", "true class", "predicted class"} <= set(texts(figure))


def test_a_large_confusion_matrix_names_the_worst_classes_and_pairs(tmp_path: Path) -> None:
    confusion = np.diag(np.full(400, 50))
    confusion[17, 17], confusion[17, 230] = 30, 20
    names = [f"doing number {number} with $5 and $6" for number in range(400)]
    figure = confusion_figure(confusion, class_names=names, title="T", subtitle="S")
    save(figure, tmp_path / "c.png")
    written = texts(figure)
    worst = written.index("doing number 17 with $5 a… (17)")
    assert written[worst + 1] == "60%  of 50"
    assert any(text.startswith("doing number 17 ") and "→ doing number 230 " in text for text in written)
    assert sum("→" in text for text in written) == 2  # the heading and the only mistake there is


@pytest.mark.parametrize("num_classes", [2, 24, 25, 64, 65])
def test_classes_are_named_where_there_is_room(num_classes: int) -> None:
    names = [f"class {number}" for number in range(num_classes)]
    figure = confusion_figure(np.eye(num_classes, dtype=int), class_names=names, title="T", subtitle="S")
    assert (names[-1] in texts(figure)) == (num_classes <= 64)
    assert texts(figure).count("100") == (num_classes if num_classes <= 24 else 0)


def test_the_picture_is_dark_on_the_diagonal_and_white_beside_it(tmp_path: Path) -> None:
    figure = confusion_figure(np.eye(30, dtype=int), class_names=[str(n) for n in range(30)], title="T", subtitle="S")
    picture = save(figure, tmp_path / "c.png")
    to_pixels = figure.axes[0].transData.transform
    for true, predicted in ((0, 0), (29, 29), (3, 8), (8, 3)):
        x, y = to_pixels((predicted, true)) * 150 / figure.dpi
        assert (picture[round(picture.shape[0] - y), round(x)].mean() < 80) == (true == predicted)


def test_curves_show_the_states_and_the_last_values(tmp_path: Path) -> None:
    figure = curves_figure(make_epochs(states=3), title="T")
    save(figure, tmp_path / "curves.png")
    written = texts(figure)
    assert {"state 1\n8 frames", "state 2\n8 frames", "state 3\n8 frames"} <= set(written)
    assert {"top-1 110.0%", "top-3 115.0%", "12 epochs in 3 states, 36 s of training"} <= set(written)
    assert len(figure.axes) == 4


@pytest.mark.parametrize(
    "epochs",
    [
        make_epochs(epochs=1, validation=False),
        make_epochs(epochs=300),
        make_epochs(states=5, epochs=1),
        make_epochs(learning_rate=0.0, train_loss=math.nan),
        make_epochs(states=2, learning_rate=0.0, train_loss=math.inf),
    ],
)
def test_any_training_can_be_drawn(epochs: list[dict[str, Any]], tmp_path: Path) -> None:
    figure = curves_figure(epochs, title="a $name$ with dollars")
    assert save(figure, tmp_path / "curves.png").std() > 5
    assert len(figure.axes) == (4 if any("eval_top1" in epoch for epoch in epochs) else 3)


def test_the_drawn_curve_is_the_logged_one() -> None:
    figure = curves_figure(make_epochs(), title="T")
    loss, top = figure.axes[0].lines[0], figure.axes[1].lines[-1]
    assert np.asarray(loss.get_xydata()).tolist() == [[1, 2.0], [2, 1.0], [3, pytest.approx(2 / 3)], [4, 0.5]]
    assert np.asarray(top.get_xydata()).tolist() == [[2, 10.0], [4, 30.0]]


def test_pictures_need_neither_pyplot_nor_torch() -> None:
    code = (
        "import sys, utils.figures.confusion, utils.figures.curves, utils.evaluation.result\n"
        "sys.exit(any(m in sys.modules for m in ('matplotlib.pyplot', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_protocol_has_the_normalization() -> None:
    text = render_text(make_result(), "")
    assert "  normalization  values of 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225\n" in text


def test_early_stopping_is_reported_with_its_epoch_and_the_best_one(make_record: MakeRecord) -> None:
    config = load_config(make_record(), ["optimizer.select=best", "optimizer.patience=2"])
    lines = [{**line, "best_epoch": 1} for line in make_epochs(epochs=3)[:3]]
    trained = Trained(config, [*lines[:2], lines[2] | {"stopped_early": True}])
    result = make_result(trained=trained, training_progress=(9, 9))
    assert (result["checkpoint"]["best_epoch"], result["checkpoint"]["stopped_early_after"]) == (1, 3)
    text = render_text(result, "")
    assert "stopped early, after epoch 3 of the last state; 9 were planned" in text
    assert "weights of epoch 1 of the last state, the best on held-out training videos" in text
    assert "NOT COMPLETE" not in text
