"""Search the optimization path of a record: explore its graph of states, find the best path, write it as a record.

  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml --dry-run
  python train_3d_op.py --config_file record/search-synthetic-dg-p3d-resnet18.yml
  torchrun --nproc_per_node=4 train_3d_op.py --config_file record/search-kinetics-dg-p3d-resnet50.yml

The section `search:` of the record defines the search space; docs/config.md documents each key. Every transition of
the graph is trained from the best weights of its start state until its curve reaches its knee. Each state keeps its
best path; the plan is read back from the longest input at the lowest rate. The same command resumes an interrupted
search, to the same plan. A record, training list or graph that has changed since is refused.

With search.policy budgeted or studied, a budget replaces the graph (docs/search.md): the search finds the peak rate,
pilots determine how the compute is divided among the inputs, and the plan is trained to its end.

Output in output/<record>/: <record>-path.yml (the path as a record for train_3d.py), current.pth (the final weights;
extract_score_3d.py and merge_score.py take this record), search.html (the report), search.json, search-graph.png,
search-curves.png, config.yml, log.txt, log.jsonl (the epochs of the path) and search/ (the journal).
"""

from utils.cli import distributed_parser, importing, run_script
from utils.config import ConfigError, load_config
from utils.text import say


def main() -> None:
    """Parse the command line, then search, or print what a search would cost."""
    parser = distributed_parser(__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the graph and the least and greatest cost of a search"
    )
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config_file, arguments.overrides)
    if not config.is_search:
        raise ConfigError(
            f"{arguments.config_file}: search.inputs is empty, so there is nothing to search; take one of "
            "record/search-*.yml, or train this record with train_3d.py"
        )
    with importing():
        import helpers  # imports torch: only after the configuration has been validated
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
