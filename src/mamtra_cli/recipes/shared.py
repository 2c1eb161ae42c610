"""Small results that several tasks share."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StartCheck:
    """Student against teacher on held-out teacher-forced sequences (nats per token)."""

    tokens: int
    ce_teacher: float
    ce_student: float
    kl: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a folder."""

    name: str
    bytes: int
    sha256: str = ""
