"""The processes of one race, as accelerate launch, torchrun or mpirun number them.

They share the work by their numbers and never talk to each other, so that none waits for another and any may be killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_NAMES = {
    "index": ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK"),
    "count": ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"),
    "local_index": ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


@dataclass(frozen=True)
class Process:
    """One of several processes that share a race.

    Attributes:
        index: 0 … count − 1; 0 shows progress and measures times.
        count: over all machines.
        local_index: among those of this machine.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Process:
        """This process, by the environment; alone where that says nothing."""
        found = {
            field: next((int(environment[name]) for name in names if environment.get(name, "").isdecimal()), None)
            for field, names in _NAMES.items()
        }
        return cls(found["index"] or 0, found["count"] or 1, found["local_index"] or 0)

    @property
    def is_main(self) -> bool:
        """Whether this one shows progress and measures times."""
        return self.index == 0

    def does(self, number: int) -> bool:
        """Whether a piece of work of that number is this process's."""
        return number % self.count == self.index
