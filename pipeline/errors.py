"""What goes wrong because of what the user gave us, told so that the user can mend it."""


class InputError(ValueError):
    """A mistake in a file, a value or a command that the user can mend.

    The message is one paragraph that names the file, the value and the remedy. The command line prints it and exits with 2.
    Our own mistakes are `assert`s, never this.
    """
