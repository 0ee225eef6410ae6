"""The exception that is shown to users as a single line instead of a traceback."""


class UserError(ValueError):
    """An error that the user can fix: a bad key, list, video or checkpoint, or a full disk.

    The message is one line that names the file, key or line, what was found and what to do. Scripts print it and exit
    with code 2 (`utils.cli.run_script`). The constructor takes exactly one string, so that the exception can be pickled
    between processes.

    Attributes:
        on_every_rank: Whether every process of a run raises the same error, so that only one of them prints it.
    """

    on_every_rank = True
