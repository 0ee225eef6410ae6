"""extract_score_3d.py and merge_score.py end to end: real videos, real processes, killed and continued."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
import merge_score
from dataset import sampling
from dataset.build import make_reader, read_evaluation_list
from dataset.listing import read_list
from dataset.transforms.recipes import crop_position, resize_short_side
from model.build import make_initial_network, make_trained_network
from tests import forked
from tests.conftest import ROOT, MakeRecord, write_record
from tests.utils.search.page.test_search_page import read, table_of
from tests.utils.test_metrics import brute_metrics
from utils.clip_shape import ClipShape
from utils.config import load_config
from utils.errors import UserError
from utils.evaluation.protocol import read_history
from utils.evaluation.provenance import choose_crops, make_manifest, scores_folder
from utils.evaluation.score_index import index_scores
from utils.evaluation.scores import PartWriter, open_scores, read_manifest
from utils.evaluation.views import ViewScorer
from utils.jsonl import write_lines
from utils.parts import METRICS
from utils.sealed import read_sealed_json

NUM_VIDEOS = 25


def save_weights(record: Path, *, seed: int = 0) -> Path:
    """Put random weights where the record's training would put its own."""
    config = load_config(record, [f"optimizer.seed={seed}"])
    config.run_dir.mkdir(parents=True, exist_ok=True)
    torch.save({"network": make_initial_network(config, trained=None).state_dict()}, config.weights_path)
    return record


@pytest.fixture
def record(make_record: MakeRecord) -> Path:
    """A record with weights, ready to be evaluated."""
    return save_weights(make_record())


@pytest.fixture(scope="module")
def scored(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record whose scores are there; a test that changes its folder takes a copy."""
    record = save_weights(write_record(tiny_set, tmp_path_factory.mktemp("scored")))
    extract(record)
    return record


@pytest.fixture
def extracted(scored: Path, make_record: MakeRecord) -> Path:
    """A record with weights and their scores, ready to be merged."""
    record = make_record()
    shutil.copytree(load_config(scored).run_dir, load_config(record).run_dir)
    return record


def extract(record: Path, *overrides: str, crops: tuple[int, ...] = (0, 1, 2), force: bool = False) -> None:
    helpers.extract(load_config(record, overrides), crops=crops, force=force, trained_by="TRAIN", merged_by="MERGE")


def merge(record: Path, *overrides: str, force: bool = False) -> dict[str, Any]:
    config = load_config(record, overrides)
    merge_score.merge(config, extracted_by="EXTRACT", force=force)
    return json.loads((config.run_dir / "result.json").read_text())


def read_scores(record: Path, *overrides: str) -> tuple[np.ndarray, np.ndarray]:
    """All scores of a record: (videos, scores [videos, crops, clips, classes])."""
    folder = scores_folder(load_config(record, overrides))
    manifest = read_manifest(folder)
    assert manifest is not None
    blocks = list(index_scores(folder, manifest).blocks())
    return np.concatenate([videos for videos, _ in blocks]), np.concatenate([scores for _, scores in blocks])


def command(script: str, record: Path, *arguments: str) -> list[str]:
    return [sys.executable, script, "--config_file", str(record), *arguments]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def own_list(record_folder: Path, tiny_set: Path, **replaced: str) -> str:
    """Copy the evaluation list with some paths replaced ('v3' is line 3); return the override that names it."""
    lines = (tiny_set / "test_list.txt").read_text().splitlines()
    for key, other in replaced.items():
        number = int(key[1:])
        lines[number] = " ".join([other, *lines[number].split()[1:]])
    path = record_folder / "own_list.txt"
    path.write_text("\n".join(lines) + "\n")
    return f"dataset.eva_list_file={path}"


def test_scores_are_those_of_clips_cut_by_hand(record: Path) -> None:
    """Decode, cut, normalize and classify single views another way; the middle video, every clip and crop."""
    overrides = ("sampler.eva_num_clips=3", "sampler.clip_length=8")
    extract(record, *overrides)
    config = load_config(record, overrides)
    videos = read_evaluation_list(config)
    reader = make_reader(config, config.dataset.eva_root_path)
    network = make_trained_network(config, config.eva_model).eval()
    _, scores = read_scores(record, *overrides)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    shape = ClipShape(1, 8, 1)
    for clip in range(3):
        offsets = sampling.test_offsets(16, shape, clip=clip, num_clips=3)
        rows = sampling.frame_indices(offsets, shape, num_frames=16)
        frames = torch.as_tensor(resize_short_side(np.asarray(reader.read(videos[12], rows)), 24))
        height, width = frames.shape[1:3]
        center = (round((height - 24) / 2), round((width - 24) / 2))  # as torchvision's CenterCrop rounds
        corners = [center, (0, 0), (height - 24, width - 24)]
        for crop, (top, left) in enumerate(corners):
            view = frames[:, top : top + 24, left : left + 24].float() / 255
            with torch.no_grad():
                logits = network.fuse(network(((view - mean) / std).permute(3, 0, 1, 2)[None]))
            expected = logits[0].numpy()
            np.testing.assert_allclose(scores[12, crop, clip], expected, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_view_is_its_own_clip_and_crop(batch_size: int) -> None:
    """A network that answers with the pixels it sees, on frames that are wider than high."""

    class Mirror(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor]:
            assert len(clips) <= batch_size
            return (clips.flatten(1),)

        def fuse(self, heads: tuple[torch.Tensor]) -> torch.Tensor:
            return heads[0]

    scorer = ViewScorer(
        Mirror(),
        normalize=lambda clips, *, out: torch.div(clips.permute(0, 4, 1, 2, 3), 128, out=out),
        crop_position=crop_position,
        crop_size=4,
        batch_size=batch_size,
        dtype=None,
        device=torch.device("cpu"),
    )
    frames = torch.randint(256, (7, 3, 4, 9), dtype=torch.uint8)
    clip_frames = torch.tensor([[0, 1], [2, 6], [6, 6], [5, 3]])
    scores = scorer(frames, clip_frames, (1, 2, 0))
    for clip, rows in enumerate(clip_frames):
        for place, left in enumerate((0, 5, 2)):  # first, last, center
            seen = frames[rows][..., left : left + 4].movedim(1, 0).flatten()
            np.testing.assert_array_equal(scores[clip, place], (seen.float() / 128).numpy())


def test_extract_then_merge_gives_the_result_of_its_scores(extracted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = merge(extracted)
    config = load_config(extracted)
    videos, scores = read_scores(extracted)
    labels = read_list(config.dataset.eva_list_file).labels
    assert videos.tolist() == list(range(NUM_VIDEOS))
    assert scores.shape == (NUM_VIDEOS, 3, 2, 12)
    video, clip, mean_class = brute_metrics(scores, labels.tolist(), 12)
    expected = {**{f"top{k}": video[k] for k in video}, "mean_class": mean_class}
    assert result["metrics"]["video"].keys() == {*expected, *METRICS}
    assert {name: result["metrics"]["video"][name] for name in expected} == pytest.approx(expected)
    assert result["metrics"]["clip"] == pytest.approx({f"top{k}": clip[k] for k in clip})
    assert result["protocol"]["num_views"] == 6
    assert result["config"] == config.to_dict()
    assert [entry["name"] for entry in result["classes"]][:2] == ["right", "left"]
    for name in ("result.txt", "result.json", "result.html", "predictions.csv", "confusion.png"):
        assert (config.run_dir / name).stat().st_size > 500
    check_page_and_predictions(config.run_dir, scores, labels)
    assert not (config.run_dir / "curves.png").exists()  # nothing was trained here
    assert f"{100 * video[1]:.2f} %" in (config.run_dir / "result.txt").read_text()
    assert f"{100 * video[1]:.2f} %" in capsys.readouterr().out


def check_page_and_predictions(run_dir: Path, scores: np.ndarray, labels: np.ndarray) -> None:
    """Assert that both name the answers of the scores; the page has a picture of each of the most wrong videos."""
    mean = torch.tensor(scores).softmax(-1).double().mean((1, 2)).numpy()
    rows = list(csv.DictReader((run_dir / "predictions.csv").read_text().splitlines()))
    wrong = np.flatnonzero(mean.argmax(1) != labels)
    assert [row["right"] == "no" for row in rows] == (mean.argmax(1) != labels).tolist()
    np.testing.assert_allclose([float(row["score_1"]) for row in rows], mean.max(1), atol=2e-6)
    page = read((run_dir / "result.html").read_text())
    shown = page.find_one("section", aria_labelledby="mistakes").find("figure")
    worst = wrong[np.argsort(mean[wrong, labels[wrong]] - mean.max(1)[wrong], kind="stable")][:20]
    assert len(shown) == len(worst) > 10
    for figure, video in zip(shown, worst, strict=True):
        assert rows[video]["video"] in figure.text and f"predicted {rows[video]['guess_1']} " in figure.text
        assert figure.find_one("img").get("src").startswith("data:image/jpeg;base64,/9j/")
    assert len(table_of(page, "classes")) == 12
    assert [image.get("alt") for image in page.find("img") if "png" in image.get("src")[:16]] == ["Confusion matrix"]


def test_crops_one_by_one_are_the_crops_of_one_pass(extracted: Path, make_record: MakeRecord) -> None:
    single = save_weights(make_record("single"))
    for crop in (1, 0, 2):
        extract(single, crops=(crop,))
    (videos, scores), (own_videos, own_scores) = read_scores(extracted), read_scores(single)
    assert (videos == own_videos).all()
    np.testing.assert_allclose(own_scores, scores, atol=1e-5)  # other views share a forward pass
    assert merge(extracted)["metrics"] == merge(single)["metrics"]


def test_the_result_does_not_depend_on_which_processes_wrote_the_parts(make_record: MakeRecord) -> None:
    """Scores of random numbers, written as 1, 2 and 3 processes would, in all crops or crop by crop."""
    scores = np.random.default_rng(0).random((NUM_VIDEOS, 2, 3, 12), dtype=np.float32)
    results = []
    for world_size in (1, 2, 3):
        record = make_record(f"of{world_size}")
        config = load_config(record)
        videos = read_evaluation_list(config)
        manifest = make_manifest(config, videos, checkpoint_sha256="0" * 64, precision="float32")
        open_scores(scores_folder(config), manifest)
        for rank in reversed(range(world_size)):
            writer = PartWriter(scores_folder(config), manifest, rank=rank, videos_per_part=2 + world_size)
            for crops in [(0, 1, 2)] if world_size < 3 else [(2,), (0, 1)]:
                for video in range(NUM_VIDEOS)[rank::world_size]:
                    writer.add(video, crops, scores[video][:, crops])
            writer.flush()
        result = merge(record)  # the weights need not be there any more
        results.append({key: result[key] for key in ("metrics", "classes", "protocol")})
    assert results[0] == results[1] == results[2]


def test_a_killed_extraction_goes_on_to_the_same_scores(scored: Path, make_record: MakeRecord) -> None:
    killed = save_weights(make_record("killed"))
    folder = scores_folder(load_config(killed))
    process = forked.Process(command("extract_score_3d.py", killed))
    deadline = time.monotonic() + 60
    while not list(folder.glob("part-*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.complete().returncode == -signal.SIGKILL
    done = len(read_scores(killed)[0])
    assert 0 < done < NUM_VIDEOS
    before = {path: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    extract(killed)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "continuing: 16 of 25 videos" in (folder.parent / "log.txt").read_text()
    for mine, theirs in zip(read_scores(killed), read_scores(scored), strict=True):
        assert (mine == theirs).all()


def test_a_finished_extraction_is_not_done_again(extracted: Path) -> None:
    folder = scores_folder(load_config(extracted))
    before = sorted(folder.iterdir())
    extract(extracted)
    assert sorted(folder.iterdir()) == before
    assert "the scores are complete" in (folder.parent / "log.txt").read_text()


def run_pair(*words: str) -> list[subprocess.CompletedProcess[str]]:
    """Run a script as two processes that know each other, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair = [forked.Process(words, env={**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    return [process.complete() for process in pair]


def test_two_processes_stop_together_and_give_the_scores_of_one(
    scored: Path, make_record: MakeRecord, tiny_set: Path, tmp_path: Path
) -> None:
    """Line 17, a video of the second process, is not there at first."""
    pair = save_weights(make_record("pair"))
    shutil.copytree(tiny_set, tmp_path / "videos")
    lines = (tiny_set / "test_list.txt").read_text().splitlines()
    lost = tmp_path / "videos" / lines[17].split()[0]
    lost.rename(tmp_path / "lost")
    words = command("extract_score_3d.py", pair, f"dataset.eva_root_path={tmp_path / 'videos'}")
    stopped = run_pair(*words)
    assert [one.returncode for one in stopped] == [2, 2]
    errors = [line for one in stopped for line in one.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert lost.name in errors[0]
    assert not any("Traceback" in one.stderr for one in stopped)

    (tmp_path / "lost").rename(lost)
    finished = run_pair(*words)
    assert [one.returncode for one in finished] == [0, 0], [one.stderr for one in finished]
    assert "continuing: 21 of 25 videos have their scores" in finished[0].stdout
    assert "4 videos scored" in finished[0].stdout
    for mine, theirs in zip(read_scores(pair), read_scores(scored), strict=True):
        assert (mine == theirs).all()


def test_a_missing_video_is_named_in_the_result_and_never_replaced(
    record: Path, tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (own_list(tmp_path, tiny_set, v3="gone.mp4", v20="also gone.mp4"), "dataset.on_error=skip")
    extract(record, *overrides)
    videos, _ = read_scores(record, *overrides)
    assert videos.tolist() == [video for video in range(NUM_VIDEOS) if video not in (3, 20)]
    result = merge(record, *overrides)
    assert [video["path"] for video in result["missing"]] == ["gone.mp4", "also gone.mp4"]
    assert result["protocol"]["num_scored"] == NUM_VIDEOS - 2
    counted_wrong = result["metrics"]["video"]["top1"] * (NUM_VIDEOS - 2) / NUM_VIDEOS
    assert result["metrics"]["video_missing_counted_wrong"]["top1"] == pytest.approx(counted_wrong)
    text = (load_config(record).run_dir / "result.txt").read_text()
    assert "Missing videos (2 of 25)" in text
    assert "also gone.mp4: " in text

    # TrialAction again finds them missing still: nothing new is written, and the result stays.
    folder = scores_folder(load_config(record))
    before = sorted(folder.iterdir())
    extract(record, *overrides)
    assert sorted(folder.iterdir()) == before
    capsys.readouterr()
    merge(record, *overrides)
    assert "is the result of these scores" in capsys.readouterr().out


def test_a_video_that_is_repaired_later_completes_the_scores_and_renews_the_result(
    record: Path, tiny_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_set, tmp_path / "videos")
    lost = tmp_path / "videos" / (tiny_set / "test_list.txt").read_text().splitlines()[4].split()[0]
    lost.rename(tmp_path / "lost")
    overrides = (f"dataset.eva_root_path={tmp_path / 'videos'}", "dataset.on_error=skip")
    extract(record, *overrides)
    incomplete = merge(record, *overrides)
    assert [video["path"] for video in incomplete["missing"]] == [str(lost.relative_to(tmp_path / "videos"))]

    (tmp_path / "lost").rename(lost)
    extract(record, *overrides)
    assert merge(record, *overrides)["missing"] == []
    earlier = load_config(record).run_dir / "earlier-001" / "result.json"
    assert json.loads(earlier.read_text()) == incomplete


def test_an_unreadable_video_stops_the_extraction_and_what_is_scored_stays(
    record: Path, tiny_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"this is no video")
    overrides = (own_list(tmp_path, tiny_set, v20=str(tmp_path / "broken.mp4")),)
    with pytest.raises(UserError, match=r"broken\.mp4"):
        extract(record, *overrides)
    assert read_scores(record, *overrides)[0].tolist() == list(range(20))
    with pytest.raises(UserError, match="15 of 75 .* complete them with: EXTRACT"):
        merge(record, *overrides)


def test_scores_of_the_older_layout_are_refused_and_force_makes_new_ones(extracted: Path) -> None:
    manifest = scores_folder(load_config(extracted)) / "manifest.json"
    content = read_sealed_json(manifest) | {"layout": 1}
    manifest.write_text(json.dumps(content))
    for act in (extract, merge):
        with pytest.raises(UserError, match="layout 1, probabilities .* extract_score_3d.py --force moves"):
            act(extracted)
    extract(extracted, force=True)
    assert merge(extracted)["protocol"]["num_scored"] == NUM_VIDEOS


def test_other_weights_are_refused_and_force_moves_the_earlier_scores(extracted: Path) -> None:
    earlier = merge(extracted)
    save_weights(extracted, seed=1)
    with pytest.raises(UserError, match=r"checkpoint_sha256 .* Rename the record, .* --force"):
        extract(extracted)
    with pytest.raises(UserError, match="checkpoint_sha256"):
        merge(extracted)
    extract(extracted, force=True)
    run_dir = load_config(extracted).run_dir
    assert json.loads((run_dir / "earlier-001" / "result.json").read_text()) == earlier
    assert (run_dir / "earlier-001" / "scores" / "manifest.json").exists()
    assert not (run_dir / "result.json").exists()
    assert merge(extracted)["checkpoint"]["sha256"] != earlier["checkpoint"]["sha256"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("sampler.eva_num_clips=3", "num_clips 2, now 3"),
        ("dataset.eva_num_crop=1", "num_crops 3, now 1"),
        ("sampler.clip_length=16", "clip_length 8, now 16"),
    ],
)
def test_another_protocol_is_refused(record: Path, change: str, said: str) -> None:
    extract(record, crops=(1,))
    with pytest.raises(UserError, match=f"holds scores of another evaluation: {said}"):
        extract(record, change, crops=(0,))
    with pytest.raises(UserError, match=f"holds scores of another evaluation: {said}"):
        merge(record, change)


def test_a_corrupt_part_is_kept_aside_and_its_videos_are_scored_again(extracted: Path) -> None:
    scores = read_scores(extracted)[1]
    folder = scores_folder(load_config(extracted))
    corrupt = max(folder.glob("part-*"), key=lambda path: path.stat().st_size)
    corrupt.write_bytes(corrupt.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{corrupt.name} is truncated or corrupt .* run the extraction again"):
        merge(extracted)
    extract(extracted)
    assert len(list(folder.glob(f"corrupt-*-{corrupt.name}"))) == 1
    assert (read_scores(extracted)[1] == scores).all()


def test_a_merge_is_done_once_and_force_keeps_the_earlier_result(
    extracted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merge(extracted)
    run_dir = load_config(extracted).run_dir
    written = (run_dir / "result.txt").stat().st_mtime_ns
    merge(extracted)
    assert (run_dir / "result.txt").stat().st_mtime_ns == written
    assert not list(run_dir.glob("earlier-*"))
    merge(extracted, force=True)
    assert (run_dir / "earlier-001" / "result.txt").exists()
    (run_dir / "confusion.png").unlink()
    merge(extracted)  # an incomplete result is made again
    assert (run_dir / "confusion.png").exists()
    assert "is the result of these scores" in capsys.readouterr().out


def test_a_result_from_before_a_metric_was_added_is_made_again(extracted: Path) -> None:
    result = merge(extracted)
    del result["metrics"]["video"]["mean_class"]
    (load_config(extracted).run_dir / "result.json").write_text(json.dumps(result))
    assert merge(extracted)["metrics"]["video"].keys() >= METRICS.keys()


def test_curves_are_drawn_when_the_record_was_trained(record: Path) -> None:
    run_dir = load_config(record).run_dir
    line = {"state": 0, "epoch": 1, "total_epoch": 1, "train_loss": 1.0, "learning_rate": 0.1, "clips_per_second": 1.0}
    write_lines(run_dir / "log.jsonl", [{**line, "num_frames": 8}])
    extract(record)
    assert merge(record)["checkpoint"]["epochs_trained"] == 1
    assert (run_dir / "curves.png").stat().st_size > 1000
    assert "the training is not complete: 1 of 2 epochs" in (run_dir / "log.txt").read_text()


def test_a_result_says_when_the_training_had_another_configuration(record: Path) -> None:
    config = load_config(record)
    assert read_history(config).differences == []
    (config.run_dir / "config.yml").write_text(load_config(record, ["optimizer.epochs=7"]).to_yaml())
    extract(record)
    assert merge(record)["training_differences"] == ["optimizer.epochs: was 7, is 2"]


def test_missing_things_are_said_with_the_command_that_makes_them(make_record: MakeRecord) -> None:
    bare = make_record("bare")
    with pytest.raises(UserError, match=r"bare/current\.pth: no such file; train them with: TRAIN"):
        extract(bare)
    with pytest.raises(UserError, match=r"other\.pth: no such file; network\.eva_model must name a file"):
        extract(bare, "network.eva_model=other.pth")
    with pytest.raises(UserError, match="no scores in .*bare/scores; extract them with: EXTRACT"):
        merge(bare)


@pytest.mark.parametrize("crop_idx", [-1, 3])
def test_a_crop_that_is_not_there_is_refused(record: Path, crop_idx: int) -> None:
    with pytest.raises(UserError, match=r"--crop_idx .*: dataset\.eva_num_crop is 3, the crops are 0\.\.2"):
        choose_crops(load_config(record), crop_idx)


@pytest.mark.parametrize("script", ["extract_score_3d.py", "merge_score.py"])
def test_help_and_mistakes_come_without_torch(script: str) -> None:
    cases = [
        ["--help"],
        ["--config_file", "no.yml"],
        ["--config_file", "record/synthetic-dg-p3d-resnet18.yml", "a.b=1"],
    ]
    code = (
        "import runpy, sys\n"
        f"for words in {cases!r}:\n"
        f"    sys.argv = [{script!r}, *words]\n"
        f"    try: runpy.run_path({script!r}, run_name='__main__')\n"
        "    except SystemExit as end: print('code', end.code)\n"
        "assert 'torch' not in sys.modules"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 0", "code 2", "code 2"]
    assert [line[:7] for line in done.stderr.splitlines()] == ["error: ", "error: "]
    assert f"python {script} --config_file" in done.stdout


def test_one_crop_from_the_command_line_is_a_gap_that_merging_names(record: Path) -> None:
    done = forked.run(command("extract_score_3d.py", record, "--crop_idx", "1", "dataset.num_workers=2"))
    assert done.returncode == 0, done.stderr
    assert f"merge them with: python merge_score.py --config_file {record} dataset.num_workers=2" in done.stdout
    gaps = forked.run(command("merge_score.py", record))
    assert gaps.returncode == 2
    assert "50 of 75 (video, crop) pairs are missing, e.g. video 0 crop 0+2" in gaps.stderr
    assert f"complete them with: python extract_score_3d.py --config_file {record}" in gaps.stderr
