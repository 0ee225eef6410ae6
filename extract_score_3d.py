"""Score the evaluation list of a record: every clip and crop of every video, for merge_score.py.

  python extract_score_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 extract_score_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Each video is decoded once; its sampler.eva_num_clips clips and dataset.eva_num_crop crops are cut from the decoded
frames on the device. The weights are network.eva_model (by default the record's own output/<record>/current.pth); clips
have the geometry of the last state. The same command resumes an interrupted extraction with any number of processes;
each video is scored once. --crop_idx scores a single crop; merge_score.py joins the crops.

The network's logits are stored in float32. A video that cannot be read, or whose logits are NaN or infinite, stops the
extraction (dataset.on_error=raise) or is recorded as missing (skip); it is never replaced by another one. The same
command retries missing videos.

Output in output/<record>/scores/: manifest.json (network, weights, list and protocol of the scores) and part-*.npz.
Scores of another checkpoint, list or protocol are never mixed in: they are an error, and --force moves them and their
result to output/<record>/earlier-NNN first.
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import load_config
from utils.evaluation.provenance import MERGE_SCRIPT, SEARCH_SCRIPT, TRAIN_SCRIPT, choose_crops, command_line


def main() -> None:
    """Parse the command line, then extract the scores."""
    parser = distributed_parser(__doc__)
    parser.add_argument("--crop_idx", type=int, metavar="i", help="score this crop only, 0 .. dataset.eva_num_crop-1")
    arguments = parser.parse_intermixed_args()
    config_file, overrides = arguments.config_file, arguments.overrides
    config = load_config(config_file, overrides)
    crops = choose_crops(config, arguments.crop_idx)
    with importing():
        import helpers  # imports torch: only after the configuration has been validated

    helpers.extract(
        config,
        crops=crops,
        force=arguments.force,
        trained_by=command_line(SEARCH_SCRIPT if config.is_search else TRAIN_SCRIPT, config_file, overrides),
        merged_by=command_line(MERGE_SCRIPT, config_file, overrides),
    )


if __name__ == "__main__":
    run_script(main)
