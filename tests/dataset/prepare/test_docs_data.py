"""The commands of docs/data, run on small datasets of real videos in the official layouts."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import extract_score_3d
import merge_score
import predict_3d
import train_3d
from dataset.build import make_reader, make_training_clips, make_transform, read_evaluation_list, read_training_list
from dataset.listing import read_list
from dataset.prepare import __main__ as prepare
from dataset.video_dataset import VideoViews
from tests import docs_commands, official_sets
from tests.conftest import ROOT
from tests.official_sets import Videos
from utils.clip_shape import ClipShape
from utils.config import load_config

PAGES = {
    "kinetics": ("kinetics400", official_sets.kinetics),
    "ucf101": ("ucf101", official_sets.ucf101),
    "hmdb51": ("hmdb51", official_sets.hmdb51),
    "something-something-v1": ("ssv1", official_sets.ssv1),
    "something-something-v2": ("ssv2", official_sets.ssv2),
    "activitynet": ("anet", official_sets.anet),
}
# Overrides that make a run of any record small enough for a test.
SMALL = [
    "network.net_name=p3d_resnet18", "network.base_width=8", "dataset.crop_size=24", "dataset.eva_crop_size=24",
    "dataset.num_workers=0", "optimizer.epochs=1", "optimizer.warmup_epoch=-1", "sampler.batch_size=4",
    "sampler.eva_num_clips=2", "optimizer.eva_inter=false",
]  # fmt: skip


def commands(page: str) -> list[list[str]]:
    """The commands of a page, in order."""
    return docs_commands.commands(ROOT / f"docs/data/{page}.md")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], int]:
    """Run a command in a working directory with the records, and with a folder of the test in place of /data."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work/record").mkdir()
    for record in (ROOT / "record").glob("*.yml"):
        (tmp_path / "work/record" / record.name).symlink_to(record)

    def run_one(words: list[str]) -> int:
        words = [re.sub(r"(^|=)/data/", rf"\g<1>{tmp_path}/data/", word) for word in words]
        if words[:3] == ["python", "-m", "dataset.prepare"]:
            return run_prepare(words[3:])
        assert words[:2] == ["bash", "run.sh"], words
        load_one_clip(f"record/{words[2]}.yml", words[3:])
        return 0

    return run_one


def num_classes() -> int:
    """The number of classes of the small set; the records have that of the full one."""
    return len(next(Path("dataset").glob("*.classes.txt")).read_text().splitlines())


def run_prepare(words: list[str]) -> int:
    if words[0] in ("browse", "benchmark"):
        words = [
            *words,
            "dataset.num_workers=0",
            f"dataset.num_classes={num_classes()}",
            "--clips",
            "4",
            *(["sampler.batch_size=2", "optimizer.num_gpu=1"]),
        ]
        words += ["dataset.crop_size=24", "dataset.eva_crop_size=32", *(["--videos", "1"] * (words[0] == "browse"))]
    else:
        words = [*words, "--workers", "1"]
    try:
        prepare.main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def load_one_clip(record: str, overrides: list[str]) -> None:
    """Read what a training needs first: both lists, a training clip and an evaluation video."""
    config = load_config(record, [*overrides, "dataset.num_workers=0", f"dataset.num_classes={num_classes()}"])
    videos = read_training_list(config)
    reader = make_reader(config, config.dataset.root_path)
    clips = make_training_clips(config, 0, videos=videos, reader=reader, transform=make_transform(config, 0))
    sample = clips[0, len(videos) - 1]
    assert sample.clip.shape[0] == config.states[0].num_frames and not sample.notes
    eva_reader = make_reader(config, config.dataset.eva_root_path)
    eva_videos = read_evaluation_list(config)
    views = VideoViews(eva_videos, eva_reader, short_side=32, num_clips=1, shape=ClipShape(1, 4, 1))
    assert not views[0].missing


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_datasets_page(page: str, run: Callable[[list[str]], int], tmp_path: Path) -> None:
    name, make = PAGES[page]
    make(tmp_path / "data" / name, Videos(tmp_path / "encoded"))
    found = commands(page)
    assert found[-1][0] == "bash"
    for words in found:
        assert run(words) == 0, words


def test_the_commands_of_the_tools_page(run: Callable[[list[str]], int], tmp_path: Path) -> None:
    official_sets.hmdb51(tmp_path / "data/hmdb51", Videos(tmp_path / "encoded"))
    for words in [*commands("hmdb51")[:1], *commands("lists")]:
        assert run(words) == 0, words
    page = Path("clips.html").read_text()
    assert page.count("<figure>") == 4 + 10 * 3
    assert len(read_list("dataset/hmdb51_shards_test_list.txt")) == 2


def test_your_own_videos_in_five_commands(
    run: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    official_sets.own(Path("videos"), Videos(tmp_path / "encoded"))
    five = commands("own-videos")[:5]
    for words in five[:3]:
        assert run(words) == 0
    assert five[3] == ["bash", "run.sh", "my-videos"] and five[4][:2] == ["python", "predict_3d.py"]
    for script in (train_3d, extract_score_3d, merge_score):
        monkeypatch.setattr(sys, "argv", [script.__name__, "--config_file", "record/my-videos.yml", *SMALL])
        script.main()
    assert "3 classes, 4 to 8 of each" in Path("output/my-videos/log.txt").read_text()
    count = len(read_list("dataset/videos_test_list.txt"))
    assert f"{count} scored of {count}, 0 missing" in Path("output/my-videos/result.txt").read_text()
    capsys.readouterr()
    predict_3d.main([*five[4][2:], *SMALL])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in printed if not line.startswith("  ")] == [
        f"videos/jump/person{person} take {take}.mp4" for person in range(3) for take in range(2)
    ]
    assert {line.split("%  ")[1] for line in printed if line.startswith("  ")} == {"hand waving", "jump", "笑う"}


def test_every_page_is_named_in_the_overview() -> None:
    pages = {path.name for path in (ROOT / "docs/data").glob("*.md")} - {"lists.md"}
    overview = (ROOT / "docs/data/lists.md").read_text()
    assert set(re.findall(r"\]\(([a-z0-9-]+\.md)\)", overview)) == pages
    for path in (ROOT / "docs/data").glob("*.md"):
        for target in re.findall(r"\]\(([a-z0-9-]+\.md)(?:#[a-z-]+)?\)", path.read_text()):
            assert (path.parent / target).exists()


def test_base_configs_name_the_lists_that_the_pages_make() -> None:
    texts = "".join((ROOT / f"docs/data/{page}.md").read_text() for page in PAGES)
    made = texts + texts.replace("kinetics_", "kinetics600_")
    for base in ("kinetics", "kinetics600", "ssv1", "ssv2", "ucf101", "hmdb51", "anet"):
        content = (ROOT / f"base_config/{base}_base.yml").read_text()
        for listed in re.findall(r"dataset/\S+_list\.txt", content):
            assert listed in made
        page = re.match(r"# (docs/data/\S+\.md)", content)
        assert page and (ROOT / page[1]).exists()
