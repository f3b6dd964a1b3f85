"""One network in a process of its own: does a training step of VGG16 for each line on stdin, answers with its CPU seconds.

Alone in its process, because oneDNN keeps only so many prepared operations, and two networks would push out each other's.
"""

from __future__ import annotations

import json
import sys
import time

import torch
import torch.nn.functional as F

from ebbench.training.models import build_model


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    layout = getattr(torch, order["layout"])
    model = build_model("vgg16", 10, order["widths"], seed=1).to(memory_format=layout)
    x_BCHW = torch.randn(order["batch"], 3, 32, 32).contiguous(memory_format=layout)
    y_B = torch.randint(0, 10, (order["batch"],))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    for _ in sys.stdin:
        start_s = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x_BCHW), y_B).backward()
        optimizer.step()
        print(time.process_time() - start_s, flush=True)


if __name__ == "__main__":
    main()
