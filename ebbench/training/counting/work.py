"""What a training makes a machine do, counted: multiply-adds, other operations, and bytes to and from memory.

For an arithmetic that is simulated here, so that its energy has to be estimated (`ebbench.energy.estimate`). Counted, per image:

* a convolution or linear layer multiplies in its forward pass, for the gradient of its weights and for that of its input (not
  the first layer), and each time reads two of and writes the third of {its input, its output, its weights} or their errors;
* BatchNorm reads and writes once forward; backward it reads its input and the error, and writes an error; pooling, two and two;
* ReLU, a residual sum and a choice of channels work on what passes, and move nothing of their own; a BatchNorm that reads such a
  sum is counted as if it read what was added, at that width.

Per step: weights are read by both passes and by the update, which writes them; gradients are written and read, momentum read and
written. A number moves at the width in which the method keeps it (`Storage`). Operands of a multiplication are as wide as the
method says, and rounded on the way where they are kept wider. BatchNorm, ReLU, pooling, loss and update are float32 operations.

Left out: what a cache or a register saves or costs (every number is fetched once and used as often as needed), averages of
the weights, mask-distance checks (some 1e-9 of the work), and everything that is not training.
"""

from __future__ import annotations

from typing import Any, Dict

from ebbench.training.counting.forward_cost import ForwardCost, LayerCost
from ebbench.training.precision.full import FullPrecision, Storage

#: per parameter and step: L1, decay, momentum and update, a multiplication and an addition each
_UPDATE_OPERATIONS = 8
FLOAT32 = Storage()


def work_of(cost: ForwardCost, precision: FullPrecision, images: int, steps: int) -> Dict[str, Any]:
    """The work of training on `images` images in `steps` steps, and the bytes that the same would move in float32."""
    elementwise = 3 * sum(layer.counter_flops - 2 * layer.macs for layer in cost.layers)
    return {
        "precision": precision.name,
        "factor_bits": precision.storage.factors,
        "multiply_adds": images * (3 * cost.macs - cost.first_layer_macs),
        "float32_operations": images * elementwise + steps * _UPDATE_OPERATIONS * cost.parameters,
        "bytes": moved_bytes(cost, precision.storage, images, steps),
        "float32_bytes": moved_bytes(cost, FLOAT32, images, steps),
    }


def moved_bytes(cost: ForwardCost, storage: Storage, images: int, steps: int) -> int:
    """Bytes to and from memory."""
    first = next(layer for layer in cost.layers if layer.macs)
    bits = images * sum(_layer_bits(layer, storage, layer is first) for layer in cost.layers)
    bits += steps * cost.parameters * (4 * storage.weights + 2 * storage.gradients + 2 * storage.momentum)
    return bits // 8


def _layer_bits(layer: LayerCost, storage: Storage, is_first: bool) -> int:
    """Bits that a layer moves for one image, its weights apart."""
    if layer.macs:
        return 3 * layer.outputs * storage.outputs + (2 if is_first else 3) * layer.inputs * storage.inputs
    if layer.kind == "BatchNorm2d":  # it reads what a layer gave, and gives what a layer reads
        return layer.outputs * (3 * storage.outputs + 2 * storage.inputs)
    if layer.kind == "ReLU":
        return 0
    return 2 * (layer.inputs + layer.outputs) * storage.inputs
