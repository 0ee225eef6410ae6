"""Train a network along the states of a record (a plain record has one state).

  python train_3d.py --config_file record/synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d.py --config_file record/op-kinetics-dg-p3d-resnet50.yml

Every state starts from the weights of the previous one. The run is saved to output/<record>/current.pth after each
epoch. The same command resumes an interrupted run from there, across states, and ends with the same weights as an
uninterrupted run. A record that has changed since is refused.

Output in output/<record>/: current.pth, state*_epoch*.pth every logging.save_freq epochs, config.yml (the effective
configuration), log.txt, log.jsonl (one line per epoch) and tensorboard/.
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import ConfigError, load_config


def main() -> None:
    """Parse the command line, then train the states that are not complete."""
    arguments = distributed_parser(__doc__).parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if config.is_search:
        raise ConfigError(
            f"{arguments.config_file} is a search record (search.inputs); search its path with train_3d_op.py, which "
            "writes a record that train_3d.py can train"
        )
    with importing():
        import helpers  # imports torch: only after the configuration has been validated

    helpers.train(config, force=arguments.force)


if __name__ == "__main__":
    run_script(main)
