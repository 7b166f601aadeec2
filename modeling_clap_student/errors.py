"""What the user can mend: raised with one line that says what, where and what to do."""


class InputError(ValueError):
    """A path, file, flag or checkpoint that a command can't work with. Commands print its message and stop."""


class ClipError(ValueError):
    """One clip that can't be used. Commands skip the clip, count it and list it with this reason."""


__all__ = ["ClipError", "InputError"]
