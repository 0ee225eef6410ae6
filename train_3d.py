"""Train a network along the states of a record (a plain record has one state).

  python train_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Every state starts from the weights of the last one with a fresh optimizer. After each epoch the run is saved to
output/<record>/current.pth; the same command continues an interrupted run from there, across states, to the same
weights as if it had never stopped. A record that was changed since is refused.

Written to output/<record>/: current.pth, state*_epoch*.pth every logging.save_freq epochs, config.yml (the effective
configuration), log.txt, log.jsonl (one line per epoch) and tensorboard/.
"""

import contextlib

from utils.cli import distributed_parser, run_script
from utils.config import ConfigError, RunConfig, load_config


def main() -> None:
    """Parse, then train the states that are not done yet."""
    arguments = distributed_parser(__doc__).parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if config.is_search:
        raise ConfigError(
            f"{arguments.config_file} is a search record (search.inputs); search its path with train_3d_op.py, which "
            "writes a record that this script trains"
        )
    train(config, force=arguments.force)


def train(config: RunConfig, *, force: bool) -> None:
    """Train a record from wherever its checkpoint stands."""
    import helpers  # brings torch: only once the configuration is known to be right
    from dataset.build import read_quick_list, read_training_list
    from model.build import describe_network, make_initial_network
    from utils import distributed
    from utils.logs import open_log
    from utils.training import run_folder
    from utils.training.checkpoint import Position
    from utils.training.engine import EpochTotals
    from utils.training.state import TrainingRecord

    with distributed.session() as device:
        videos, eva_videos = read_training_list(config), read_quick_list(config)
        notice = run_folder.open_for_training(config, force=force)
        log = open_log(config.run_dir, "train")
        if notice:
            log.info(notice)
        record = TrainingRecord(config, log, list_sha256=videos.sha256)
        content, position = record.read()
        if position.state == len(config.states):
            log.info(f"training is complete: {config.weights_path}")
            return
        network = make_initial_network(config, trained=content)
        log.info(
            f"{config.name}: {describe_network(config, network)}, {len(videos)} training videos, "
            f"{device.type}, {helpers.choose_precision(config, device)}"
        )
        if content is not None:
            log.info(
                f"continuing in state {position.state + 1}, {position.epoch} epochs and {position.step} steps done"
            )
        with contextlib.closing(record):
            for index in range(position.state, len(config.states)):
                trainer = helpers.make_state_trainer(
                    config, index, network=network, videos=videos, eva_videos=eva_videos, device=device
                )
                totals = EpochTotals()
                if content is not None and (position.epoch or position.step):
                    trainer.learner.load_state_dict(content)
                    totals = EpochTotals.of_rank(content["totals"])
                log.info(trainer.describe())
                trainer.train(record, position, totals)
                position, content = Position(state=index + 1), None
        log.info(f"trained weights: {config.weights_path}")


if __name__ == "__main__":
    run_script(main)
