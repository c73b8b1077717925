"""The error that a user can mend. Does not import torch, so that the command line starts quickly."""


class UserError(Exception):
    """Error that the user can fix; its message says what was found and what to do.

    The command line prints it as one line and exits with status 2.
    """
