"""One process, or several that train one model together.

Several are started by `torchrun`, which tells each its rank in the environment; Lightning Fabric connects them. Each
rank trains on batches of its own, and gradients are averaged.
"""

from __future__ import annotations

import atexit
import os
from typing import Any

import torch
from torch import Tensor, distributed

from ssic.errors import InvalidInput
from ssic.imports import optional


class Ranks:
    """The processes of a run.

    Attributes:
        rank: of this process; 0 writes the files.
        size: how many there are.
        device: of this process.
    """

    def __init__(self, device: torch.device) -> None:
        """
        Args:
            device: "cpu" or "cuda"; several ranks of one machine take a GPU each.

        Raises:
            InvalidInput: started by torchrun, but Lightning Fabric is missing, or the ranks can't share the device.
        """
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank, self.device = 0, device
        self._fabric: Any = None
        if self.size > 1:
            fabric = optional("lightning_fabric", "train", purpose="training with several processes")
            if device.index is not None:
                raise InvalidInput(
                    f"several processes can't all train on {device}: name the kind, {device.type}"
                )
            local = int(os.environ.get("LOCAL_WORLD_SIZE", str(self.size)))
            self._fabric = fabric.Fabric(
                accelerator=device.type, devices=local, num_nodes=self.size // local, strategy="ddp"
            )
            self._fabric.launch()
            atexit.register(distributed.destroy_process_group)  # else its threads may outlive what they use
            self.rank, self.device = self._fabric.global_rank, self._fabric.device

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all ranks."""
        return self._fabric.all_reduce(value, reduce_op="mean") if self._fabric else value

    def agreed(self, value: float) -> float:
        """What rank 0 says: clocks and signals differ from rank to rank."""
        return float(self._fabric.broadcast(value)) if self._fabric else value

    def wait(self) -> None:
        """Until all ranks are here."""
        if self._fabric:
            self._fabric.barrier()
