"""Every error this project raises on bad input, below one root."""


class CoVSpecError(Exception):
    """Root of all errors with which this project answers bad input."""


class InvalidSetting(CoVSpecError, ValueError):
    """A configured value breaks its rule; the message has name, rule and value."""


class InvalidAction(CoVSpecError, ValueError):
    """An action lies outside its space."""


class InvalidStatus(CoVSpecError, ValueError):
    """A status handed to a controller holds NaN or lies outside its bounds."""


class InvalidRequest(CoVSpecError, ValueError):
    """A question or a sampling setting that the models cannot take."""


class UnreadableImage(CoVSpecError, ValueError):
    """An image that is missing, truncated or in no format that Pillow reads."""


class BrokenTrace(CoVSpecError, ValueError):
    """A measured trace that breaks its format."""


class BrokenMessage(CoVSpecError, ValueError):
    """Bytes that are no message of this version."""


class BrokenRecording(CoVSpecError, ValueError):
    """A recording that is missing, damaged or made for something else."""


class PolicyMismatch(CoVSpecError, ValueError):
    """A saved controller that is broken or was made for another codec."""


class RunConflict(CoVSpecError, RuntimeError):
    """A run folder that belongs to another or still active run."""


class FolderInUse(RunConflict):
    """A run folder that another living process holds."""


class WorkLost(CoVSpecError, RuntimeError):
    """A piece of work whose process or machine died too often."""


class SessionOver(CoVSpecError, RuntimeError):
    """A round was asked of a session whose last request is finished."""


class Interrupted(CoVSpecError, RuntimeError):
    """An answer that could not be finished.

    Attributes:
        tokens: Token ids committed before, so that nothing is lost.
    """

    def __init__(self, message: str, tokens: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.tokens = tokens


class LinkTimeout(Interrupted):
    """A transfer did not end within the scenario's deadline."""


class ModelFailure(Interrupted):
    """A model cannot go on: it has no positions left, or its logits are no numbers."""


class OutOfMemory(ModelFailure):
    """A model has no memory left."""
