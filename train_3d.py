"""Train a network along the states of a record (a plain record has one state).

  python train_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Every state starts from the weights of the last one. After each epoch the run is saved to
output/<record>/current.pth; the same command continues an interrupted run from there, across states, to the same
weights as if it had never stopped. A record that was changed since is refused.

Written to output/<record>/: current.pth, state*_epoch*.pth every logging.save_freq epochs, config.yml (the effective
configuration), log.txt, log.jsonl (one line per epoch) and tensorboard/.
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import ConfigError, load_config


def main() -> None:
    """Parse, then train the states that are not done yet."""
    arguments = distributed_parser(__doc__).parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if config.is_search:
        raise ConfigError(
            f"{arguments.config_file} is a search record (search.inputs); search its path with train_3d_op.py, which "
            "writes a record that this script trains"
        )
    with importing():
        import helpers  # brings torch: only once the configuration is known to be right

    helpers.train(config, force=arguments.force)


if __name__ == "__main__":
    run_script(main)
