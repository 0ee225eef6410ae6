"""The one kind of exception that is shown to a user as a single line instead of a traceback."""


class UserError(ValueError):
    """A mistake that the user can mend: a bad key, list, video, checkpoint or a full disk.

    The message is one line that names the file, key or line, says what was found and what to do. Scripts print it
    and exit with code 2 (`utils.cli.run_script`). It takes exactly one string, so that it survives pickling between
    processes.

    Attributes:
        on_every_rank: Whether every process of a run meets the same mistake, so that one of them says it for all.
    """

    on_every_rank = True
