"""Score the evaluation list of a record: every clip and crop of every video, in files that merge_score.py joins.

  python extract_score_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 extract_score_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Each video is decoded once; its sampler.eva_num_clips clips and dataset.eva_num_crop crops are cut from the decoded
frames on the device. The weights are network.eva_model (the record's own output/<record>/current.pth by default), the
clip has the geometry of the last state. An interrupted extraction is continued by the same command, with any number of
processes; a video is scored once. With --crop_idx one crop only is scored; merging joins the crops.

What is stored are the network's logits, in float32. A video that cannot be read, or whose logits are NaN or infinite,
stops the extraction (dataset.on_error=raise) or is recorded as missing (skip), never replaced by another one; the same
command tries missing videos again.

Written to output/<record>/scores/: manifest.json (what the scores are of) and part-*.npz. Scores of another checkpoint,
list or protocol are never mixed in: that is an error, and --force moves them and their result to
output/<record>/earlier-NNN first.
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import load_config
from utils.evaluation.provenance import MERGE_SCRIPT, SEARCH_SCRIPT, TRAIN_SCRIPT, choose_crops, command_line


def main() -> None:
    """Parse, then extract."""
    parser = distributed_parser(__doc__)
    parser.add_argument("--crop_idx", type=int, metavar="i", help="score this crop only, 0 .. dataset.eva_num_crop-1")
    arguments = parser.parse_intermixed_args()
    config_file, overrides = arguments.config_file, arguments.overrides
    config = load_config(config_file, overrides)
    crops = choose_crops(config, arguments.crop_idx)
    with importing():
        import helpers  # brings torch: only once the configuration is known to be right

    helpers.extract(
        config,
        crops=crops,
        force=arguments.force,
        trained_by=command_line(SEARCH_SCRIPT if config.is_search else TRAIN_SCRIPT, config_file, overrides),
        merged_by=command_line(MERGE_SCRIPT, config_file, overrides),
    )


if __name__ == "__main__":
    run_script(main)
