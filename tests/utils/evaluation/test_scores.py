"""Score files: every row is read back exactly once, whatever wrote it and however it ended."""

import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.conftest import ROOT
from utils.evaluation.score_index import index_scores, set_aside_corrupt_part
from utils.evaluation.scores import (
    MANIFEST_NAME,
    CorruptPartError,
    Manifest,
    PartWriter,
    ScoresError,
    open_scores,
    read_manifest,
)
from utils.files import FileError, move_to_earlier, write_atomically
from utils.sealed import read_sealed_json

CROPS = (0, 1, 2)


def make_manifest(**changes):
    values = {
        "network": "dg_p3d_resnet18", "checkpoint_sha256": "a" * 64, "list_sha256": "b" * 64, "num_videos": 20,
        "num_classes": 5, "format": "RAW", "root_path": "data", "num_clips": 4, "num_crops": 3, "num_segments": 1,
        "clip_length": 16, "num_steps": 1, "crop_size": 56, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        "use_flow": False, "use_fore": False,
        "precision": "float32", "checkpoint": "output/x/current.pth", "list_file": "data/list.txt",
        "versions": {"torch": "2.0"},
    }  # fmt: skip
    return Manifest(**{**values, **changes})


def score_of(video, crop, *, num_clips=4, num_classes=5):
    """Scores [clips, classes] that no other (video, crop) has."""
    return np.random.default_rng((video, crop)).random((num_clips, num_classes), dtype=np.float32)


def write_share(folder, manifest, videos, *, rank=0, crops=CROPS, missing=(), videos_per_part=3):
    writer = PartWriter(folder, manifest, rank=rank, videos_per_part=videos_per_part)
    for video in videos:
        if video in missing:
            writer.add_missing(video, crops, f"v{video}.mp4: no such file")
        else:
            writer.add(video, crops, np.stack([score_of(video, crop) for crop in crops], axis=1))
    writer.flush()


def read_all(folder, manifest):
    blocks = list(index_scores(folder, manifest).blocks(6))
    return np.concatenate([videos for videos, _ in blocks]), np.concatenate([scores for _, scores in blocks])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scores"
    open_scores(folder, make_manifest())
    return folder


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_rows_come_back_in_list_order_whatever_the_number_of_writers(folder, world_size):
    manifest = make_manifest()
    for rank in reversed(range(world_size)):
        write_share(folder, manifest, range(20)[rank::world_size], rank=rank)
    index = index_scores(folder, manifest)
    index.require_complete(completed_by="extract")
    videos, scores = read_all(folder, manifest)
    assert videos.tolist() == list(range(20))
    assert scores.shape == (20, 3, 4, 5)
    for video in range(20):
        for crop in CROPS:
            assert (scores[video, crop] == score_of(video, crop)).all()


def test_crops_extracted_one_by_one_join_to_the_same_rows(folder):
    manifest = make_manifest()
    for crop in (2, 0, 1):
        for rank in range(2):
            write_share(folder, manifest, range(20)[rank::2], rank=rank, crops=(crop,))
    videos, scores = read_all(folder, manifest)
    assert videos.tolist() == list(range(20))
    assert all((scores[v, c] == score_of(v, c)).all() for v in range(20) for c in CROPS)


def test_pending_is_what_has_no_row(folder):
    manifest = make_manifest()
    write_share(folder, manifest, [0, 1, 2], crops=CROPS)
    write_share(folder, manifest, [3, 4], crops=(1,))
    index = index_scores(folder, manifest)
    assert index.pending((1,)) == [(video, (1,)) for video in range(5, 20)]
    assert index.pending(CROPS)[:3] == [(3, (0, 2)), (4, (0, 2)), (5, CROPS)]


def test_incomplete_scores_are_an_error_that_counts_names_and_says_the_command(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(18))
    write_share(folder, manifest, [18], crops=(0,))
    with pytest.raises(ScoresError) as caught:
        index_scores(folder, manifest).require_complete(completed_by="python extract.py")
    message = str(caught.value)
    assert "5 of 60 (video, crop) pairs" in message
    assert "video 18 crop 1+2, video 19 crop 0+1+2" in message
    assert message.endswith("python extract.py")


def test_recorded_missing_videos_are_no_gap_and_give_no_rows(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), missing={3, 19})
    index = index_scores(folder, manifest)
    index.require_complete(completed_by="")
    assert index.missing == {3: "v3.mp4: no such file", 19: "v19.mp4: no such file"}
    assert read_all(folder, manifest)[0].tolist() == [v for v in range(20) if v not in (3, 19)]
    assert [video for video, _ in index.pending(CROPS)] == [3, 19]  # they are retried


def test_a_missing_video_that_is_scored_later_is_no_longer_missing(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), missing={7})
    write_share(folder, manifest, [7])
    assert index_scores(folder, manifest).missing == {}
    assert len(read_all(folder, manifest)[0]) == 20


def test_a_video_missing_on_one_crop_is_missing_as_a_whole(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), crops=(0,))
    write_share(folder, manifest, range(20), crops=(1, 2), missing={7})
    index = index_scores(folder, manifest)
    index.require_complete(completed_by="")
    assert list(index.missing) == [7]
    assert 7 not in read_all(folder, manifest)[0]


def test_all_missing_is_an_error(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), missing=set(range(20)))
    with pytest.raises(ScoresError, match=r"no video could be scored, all 20 are missing: v0\.mp4: no such file"):
        index_scores(folder, manifest).require_complete(completed_by="")


def test_a_duplicate_row_is_an_error_that_names_both_files(folder):
    manifest = make_manifest()
    write_share(folder, manifest, [0, 1], videos_per_part=9)
    write_share(folder, manifest, [1, 2], crops=(2,), rank=1)
    first, second = sorted(folder.glob("part-*"))
    with pytest.raises(ScoresError, match=r"1 .video, crop. pairs occur twice, e\.g\. video 1 crop 2") as caught:
        index_scores(folder, manifest)
    assert first.name in str(caught.value)
    assert second.name in str(caught.value)


def test_two_writers_of_the_same_rank_do_not_clobber_each_other(folder):
    write_share(folder, make_manifest(), [0], rank=0)
    write_share(folder, make_manifest(), [1], rank=0)
    assert len(list(folder.glob("part-*"))) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint_sha256": "c" * 64}, "checkpoint_sha256 aaaaaaaaaaaa, now cccccccccccc"),
        ({"num_clips": 10}, "num_clips 4, now 10"),
        (
            {"list_sha256": "d" * 64, "num_videos": 21},
            "list_sha256 bbbbbbbbbbbb, now dddddddddddd; num_videos 20, now 21",
        ),
        ({"crop_size": 64}, "crop_size 56, now 64"),
        ({"precision": "bfloat16"}, "precision float32, now bfloat16"),
    ],
)
def test_scores_of_another_evaluation_are_an_error_that_names_the_difference(folder, change, said):
    write_share(folder, make_manifest(), range(2))
    with pytest.raises(ScoresError) as caught:
        open_scores(folder, make_manifest(**change))
    assert said in str(caught.value)
    assert "Rename the record" in str(caught.value)
    assert "--force" in str(caught.value)


def test_the_same_evaluation_under_another_path_is_accepted(folder):
    write_share(folder, make_manifest(), range(2))
    moved = make_manifest(checkpoint="elsewhere.pth", list_file="/mnt/list.txt", versions={"torch": "3.0"})
    open_scores(folder, moved)
    assert read_manifest(folder) == make_manifest()
    assert moved.fingerprint == make_manifest().fingerprint


def test_every_other_field_of_the_manifest_changes_the_fingerprint():
    manifest = make_manifest()
    informative = {"checkpoint", "list_file", "versions"}
    for field in dataclasses.fields(manifest):
        value = getattr(manifest, field.name)
        other = {} if isinstance(value, dict) else not value if isinstance(value, bool) else value * 2 or 12.5
        changed = dataclasses.replace(manifest, **{field.name: other})
        assert (changed.fingerprint == manifest.fingerprint) == (field.name in informative), field.name


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"layout": 99}', '{"layout": 2, "network": "x"}'])
def test_a_corrupt_manifest_is_an_error_with_a_remedy(folder, content):
    (folder / MANIFEST_NAME).write_text(content)
    with pytest.raises(ScoresError, match=r"manifest\.json cannot be read .* --force"):
        read_manifest(folder)


def rewrite(path, **changes):
    """Write a part again with other members; None takes one away."""
    with np.load(path) as part:
        members = {**dict(part), **changes}
    np.savez(path, **{name: value for name, value in members.items() if value is not None})


def test_probabilities_of_format_1_are_refused_with_a_remedy(folder):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), videos_per_part=20)
    (path,) = folder.glob("part-*")
    rewrite(path, layout=None)  # the members of format 1, with the current fingerprint
    with pytest.raises(ScoresError, match=r"part-.* holds scores of layout 1, probabilities .* --force") as caught:
        index_scores(folder, manifest)
    assert not isinstance(caught.value, CorruptPartError)
    with pytest.raises(ScoresError, match="layout 1, probabilities"):  # nor does an extraction set it aside as corrupt
        index_scores(folder, manifest, on_corrupt=lambda path, error: None)
    content = read_sealed_json(folder / MANIFEST_NAME)
    (folder / MANIFEST_NAME).write_text(json.dumps({**content, "layout": 1}))
    for read in (read_manifest, lambda folder: open_scores(folder, manifest)):
        with pytest.raises(ScoresError, match=r"layout 1, probabilities .* logits, layout 2\); .* --force moves"):
            read(folder)


def test_format_1_has_another_fingerprint():
    """Its parts are distinguished even if nothing else differs."""
    text = json.dumps(make_manifest().identity, sort_keys=True)
    assert make_manifest().fingerprint != hashlib.sha256(text.encode()).hexdigest()[:16]


def test_logits_are_stored_bit_equal(folder):
    """Huge, tiny, subnormal and negative ones, for any division into parts."""
    bits = np.random.default_rng(7).integers(2**32, size=(20, 4, 3, 5), dtype=np.uint32)
    logits = bits.view(np.float32).copy()
    logits[~np.isfinite(logits)] = -0.0
    writer = PartWriter(folder, make_manifest(), rank=0, videos_per_part=3)
    for video in reversed(range(20)):
        writer.add(video, CROPS, logits[video])
    writer.flush()
    _, found = read_all(folder, make_manifest())
    assert (found.swapaxes(1, 2).copy().view(np.uint32) == logits.view(np.uint32)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_logits_are_never_read_from_a_part(folder, value):
    manifest = make_manifest()
    write_share(folder, manifest, range(20), videos_per_part=20)
    (path,) = folder.glob("part-*")
    with np.load(path) as part:
        scores = part["scores"].copy()
    scores[[3, 17], 2, 1, 4] = value
    rewrite(path, scores=scores)
    with pytest.raises(ScoresError, match=r"video 3 .*: the network's logits are NaN or infinite in 1 of 12 views"):
        read_all(folder, manifest)
    seen: dict[int, str] = {}
    blocks = list(index_scores(folder, manifest).blocks(1, on_broken=seen.__setitem__))
    assert [int(video) for videos, _ in blocks for video in videos] == [v for v in range(20) if v not in (3, 17)]
    assert all((scores[0, 0] == score_of(int(videos[0]), 0)).all() for videos, scores in blocks)
    assert list(seen) == [3, 17]
    assert path.name in seen[17]
    corrupt = []
    index_scores(folder, manifest, on_corrupt=lambda path, error: corrupt.append(str(error)))
    assert corrupt == [f"{path}: the network's logits are NaN or infinite in 2 of 240 views"]


def test_no_manifest_is_none(tmp_path):
    assert read_manifest(tmp_path) is None


def test_scores_of_another_normalization_are_not_merged(folder):
    write_share(folder, make_manifest(), range(2))
    with pytest.raises(ScoresError, match=r"mean \[0\.485, .*\], now \[0\.45"):
        open_scores(folder, make_manifest(mean=[0.45, 0.45, 0.45]))


def test_the_manifest_is_readable_json(folder):
    assert json.loads((folder / MANIFEST_NAME).read_text())["num_videos"] == 20


def tear(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "foreign":
        path.write_bytes(b"not an archive at all" * 50)
    else:  # one bit of a score
        place = content.index(score_of(0, 0)[0].tobytes()[:8])
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("how", ["empty", "half", "foreign", "bit"])
def test_a_corrupt_part_is_named_and_set_aside_and_its_videos_are_pending_again(folder, how):
    manifest = make_manifest()
    for crop in range(3):
        write_share(folder, manifest, range(3), crops=(crop,))
    corrupt = next(path for path in folder.glob("part-*") if score_of(0, 0)[0].tobytes()[:8] in path.read_bytes())
    tear(corrupt, how)
    with pytest.raises(ScoresError) as caught:
        list(index_scores(folder, manifest).blocks())
    assert str(corrupt) in str(caught.value)
    assert "truncated or corrupt" in str(caught.value)
    assert "run the extraction again" in str(caught.value)

    seen = []
    index = index_scores(
        folder, manifest, on_corrupt=lambda path, error: seen.append((path, set_aside_corrupt_part(path)))
    )
    assert [path for path, _ in seen] == [corrupt]
    assert seen[0][1].exists()
    assert not corrupt.exists()
    assert index.pending((0,)) == [(video, (0,)) for video in range(20)]
    assert index.pending((1,)) == [(video, (1,)) for video in range(3, 20)]
    index_scores(folder, manifest)  # the corrupt part is out of the way


def test_any_corrupt_byte_is_detected_or_harmless(folder):
    """Flip every 13th byte of a part: it is refused, or its content is unchanged."""
    manifest = make_manifest()
    write_share(folder, manifest, range(3), missing={1})
    (path,) = folder.glob("part-*")
    content = path.read_bytes()
    expected = read_all(folder, manifest)
    refused = 0
    for place in range(0, len(content), 13):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            videos, scores = read_all(folder, manifest)
        except ScoresError:
            refused += 1
            continue
        assert (videos == expected[0]).all()
        assert (scores == expected[1]).all()
    assert refused > len(content) / 13 / 2


def test_a_part_of_other_scores_is_refused(folder):
    other = make_manifest(checkpoint_sha256="c" * 64)
    write_share(folder, other, [0])
    with pytest.raises(ScoresError, match="belongs to other scores"):
        index_scores(folder, make_manifest())


def test_scores_that_are_not_numbers_are_refused(folder):
    writer = PartWriter(folder, make_manifest(), rank=0)
    with pytest.raises(ScoresError, match="video 3 has scores that are not numbers"):
        writer.add(3, (0,), np.full((4, 1, 5), np.nan, dtype=np.float32))


def test_a_part_is_written_after_its_maximum_time(folder):
    writer = PartWriter(folder, make_manifest(), rank=0, seconds_per_part=0.0)
    writer.add(0, (0,), score_of(0, 0)[:, None])
    assert len(list(folder.glob("part-*"))) == 1


def test_nothing_added_writes_nothing(folder):
    PartWriter(folder, make_manifest(), rank=0).flush()
    assert not list(folder.glob("part-*"))


def test_a_full_disk_is_one_clear_error_and_earlier_parts_are_safe(folder, monkeypatch):
    manifest = make_manifest()
    write_share(folder, manifest, range(3))

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    writer = PartWriter(folder, manifest, rank=0)
    writer.add(5, CROPS, np.stack([score_of(5, crop) for crop in CROPS], axis=1))
    with pytest.raises(FileError, match="no space left on the disk; free some and run the same command again"):
        writer.flush()
    monkeypatch.undo()
    writer.flush()  # scores that could not be written are not retried forever
    assert read_all(folder, manifest)[0].tolist() == [0, 1, 2]
    assert not list(folder.glob(".*"))


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half of the new")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [child.name for child in tmp_path.iterdir()] == ["file"]


def test_a_file_where_a_folder_should_be_is_a_clear_error(tmp_path):
    (tmp_path / "scores").write_text("")
    with pytest.raises(FileError, match=r"cannot be written \(File exists\)"):
        open_scores(tmp_path / "scores", make_manifest())


def test_earlier_results_are_moved_and_numbered_never_lost(tmp_path):
    for round_number in (1, 2):
        (tmp_path / "scores").mkdir()
        (tmp_path / "scores" / "part").write_text(str(round_number))
        (tmp_path / "result.txt").write_text(str(round_number))
        assert move_to_earlier(tmp_path, ["scores", "result.txt", "absent"]) == tmp_path / f"earlier-{round_number:03d}"
    assert move_to_earlier(tmp_path, ["scores", "result.txt"]) is None
    for round_number in (1, 2):
        assert (tmp_path / f"earlier-{round_number:03d}" / "scores" / "part").read_text() == str(round_number)
        assert (tmp_path / f"earlier-{round_number:03d}" / "result.txt").read_text() == str(round_number)


def test_a_killed_writer_leaves_whole_parts_only(folder):
    """SIGKILL during a write: every file with a part's name is complete."""
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from tests.utils.evaluation.test_scores import make_manifest, write_share
        for start in range(0, 20):
            write_share(Path({str(folder)!r}), make_manifest(num_clips=4), [start], videos_per_part=1)
            print(start, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "5":
            process.send_signal(signal.SIGKILL)
            break
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    manifest = make_manifest()
    done = index_scores(folder, manifest).scored_videos.tolist()
    assert done[:6] == list(range(6))
    write_share(folder, manifest, [video for video, _ in index_scores(folder, manifest).pending(CROPS)])
    assert read_all(folder, manifest)[0].tolist() == list(range(20))


def test_added_scores_are_written_even_after_an_error(folder):
    with pytest.raises(KeyboardInterrupt), PartWriter(folder, make_manifest(), rank=0) as writer:
        writer.add(4, (0,), score_of(4, 0)[:, None])
        raise KeyboardInterrupt
    assert index_scores(folder, make_manifest()).part_of[4].tolist() == [0, -1, -1]


def test_moved_videos_continue_under_the_manifest_of_the_first_extraction(folder):
    manifest, moved = make_manifest(), make_manifest(root_path="elsewhere", list_file="moved.txt")
    write_share(folder, manifest, range(3))
    assert open_scores(folder, moved) == manifest
    write_share(folder, open_scores(folder, moved), range(3, 6))
    assert len(index_scores(folder, manifest).scored_videos) == 6


def test_a_start_that_scored_nothing_does_not_block_the_corrected_one(folder):
    corrected = make_manifest(num_clips=2)
    assert open_scores(folder, corrected) == corrected == read_manifest(folder)
    write_share(folder, make_manifest(), range(3))
    with pytest.raises(ScoresError, match="num_clips 2, now 4"):
        open_scores(folder, make_manifest())
