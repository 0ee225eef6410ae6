"""Search the optimization path of a record: explore its graph of states, plan the best path, write it as a record.

  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml --dry-run
  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d_op.py --config_file record/search-kinetics-dg-p3d-resnet50.yml

The section `search:` of the record is the search space; docs/config.md says what each key means. Every transition of
the graph is trained from the best weights of its start state until its curve has its knee; each state keeps its best
path; the plan is read back from the longest input at the lowest rate. Interrupt it whenever you like: the same
command continues to the same plan. A record, training list or graph that was changed since is refused.

With search.policy budgeted or studied there is a budget in place of a graph (docs/search.md): the peak rate is found,
pilots say how to divide the compute among the inputs, and the plan is trained to its end.

Written to output/<record>/: <record>-path.yml (the path as a record that train_3d.py trains), current.pth (the weights
at its end; extract_score_3d.py and merge_score.py take this record), search.html (the page to look at), search.json,
search-graph.png, search-curves.png, config.yml, log.txt, log.jsonl (the epochs of the path) and search/ (the journal).
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import ConfigError, load_config
from utils.text import say


def main() -> None:
    """Parse, then search or say what a search would cost."""
    parser = distributed_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="draw the graph and say what the search costs at least and at most"
    )
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if not config.is_search:
        raise ConfigError(
            f"{arguments.config_file}: search.inputs is empty, so there is nothing to search; see the search records "
            "record/search-*.yml; train_3d.py trains this one as it is"
        )
    with importing():
        import helpers  # brings torch: only once the configuration is known to be right
        from utils.search.budgeted import plan_budget
        from utils.search.run import search_path

    if arguments.dry_run:
        say(*helpers.describe_search(config))
    elif config.search.policy != "released":
        plan_budget(config, helpers.make_budgeted_parts, force=arguments.force)
    else:
        search_path(config, helpers.make_search_parts, force=arguments.force)


if __name__ == "__main__":
    run_script(main)
