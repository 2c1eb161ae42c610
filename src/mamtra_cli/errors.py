"""The exceptions a user can meet, drawn once.

    MamtraError                 failed for a stated reason (exit 1)
    ├── UsageError              the command line or recipe is wrong (exit 2)
    ├── ModelNotFoundError      no such model folder, hub id or voice
    ├── CheckpointError         files that are missing, damaged or of another shape
    ├── FormatVersionError      a folder written by a newer mamtra
    ├── PlanError               a layer plan that does not fit the model (exit 2)
    ├── TextError               a text that cannot be spoken
    ├── AudioError              audio that cannot be read or written
    ├── AudioRejectedError      synthesis whose guards failed after every retry
    ├── OutputError             an output that exists or cannot be written
    ├── DataError               training or test data that cannot be read or do not fit
    ├── TrainingError           training that cannot go on (a loss that is not finite)
    ├── HubError                the hub refused, or could not be reached
    ├── MissingDependencyError  an optional package is not installed
    ├── ClusterError            Ray could not be reached, or lost its workers
    ├── ServerError             no server answers at an address, or none of ours
    ├── OutOfMemoryError        the device has too little memory
    └── LimitMissedError        ran well but missed a limit the user set (exit 3)

Each has a `message` (the fact: lower case, no final full stop), may have a `hint` (the fix, as
a command where possible) and a `code`, the cause word of the JSON error.
"""


class MamtraError(Exception):
    """An expected failure with its cause in words.

    Args:
        message: the fact, with the value and the name it concerns.
        hint: what to do about it.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MamtraError):
    """The command line or a recipe asks for something that cannot be."""

    code = "usage"
    exit_code = 2


class ModelNotFoundError(MamtraError):
    """No model folder, hub repository or voice of that name."""

    code = "not_found"


class CheckpointError(MamtraError):
    """Model files are missing, truncated, unsafe, or do not fit the configuration."""

    code = "bad_checkpoint"


class FormatVersionError(CheckpointError):
    """A model folder was written by a newer version of mamtra."""

    code = "format_version"


class PlanError(UsageError):
    """A layer plan cannot be read or does not fit the model."""

    code = "bad_plan"


class TextError(MamtraError):
    """A text is empty or holds what the model cannot speak."""

    code = "bad_text"


class AudioError(MamtraError):
    """Audio cannot be read, written or used as a prompt."""

    code = "bad_audio"


class AudioRejectedError(MamtraError):
    """Every attempt at synthesis failed a guard (non-finite, runaway, too short)."""

    code = "audio_rejected"


class OutputError(MamtraError):
    """An output exists already or cannot be written."""

    code = "output"


class DataError(MamtraError):
    """Training or test data cannot be read or do not fit the model."""

    code = "bad_data"


class TrainingError(MamtraError):
    """Training cannot go on: the loss is not finite, or a saved run does not fit."""

    code = "training"


class HubError(MamtraError):
    """The hub refused a request or could not be reached."""

    code = "hub"


class MissingDependencyError(MamtraError):
    """An optional package is needed and not installed."""

    code = "missing_dependency"


class ClusterError(MamtraError):
    """Ray could not be reached, or its workers failed."""

    code = "cluster"


class ServerError(MamtraError):
    """No server answers at an address, or one that is not ours."""

    code = "server"


class OutOfMemoryError(MamtraError):
    """The device has too little memory for the request."""

    code = "out_of_memory"


class LimitMissedError(MamtraError):
    """The command ran well but missed a limit that the user set."""

    code = "limit_missed"
    exit_code = 3
