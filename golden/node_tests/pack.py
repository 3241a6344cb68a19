"""Packs the ONNX project's own node tests on floats into cases.npz.gz.

The cases come out of the package `onnx` (Apache-2.0, https://github.com/onnx/onnx, onnx/backend/test/case/node), with
the results that its reference code computes. Kept are those with a float operand and a float result, all of whose
operands and results are plain tensors. Per case: the model, its operands and its results, in order, where float16 and
bfloat16 are stored as float32. Operands that are no floats become constants of the model, as they are in real ones. `manifest.toml` says what becomes of each.

    pip install -r requirements.txt && python pack.py
"""

import gzip
import io
import warnings
import zipfile

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases

warnings.filterwarnings("ignore")
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
# Bytes of a case; a few cases are larger, and say nothing that smaller ones do not.
LIMIT = 50_000
KNOWN = FLOATS | {
    TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8,
    TensorProto.UINT64, TensorProto.UINT32, TensorProto.UINT16, TensorProto.UINT8, TensorProto.BOOL,
}


# Operands that are parameters in all but name: constants in every model, so constants here.
PARAMETERS = {
    "clip": {"min", "max"}, "dropout": {"r", "ratio"}, "pad": {"value"}, "resize": {"roi", "scales"},
    "upsample": {"scales"}, "quantizelinear": {"y_scale"}, "dequantizelinear": {"x_scale"},
    "dynamicquantizelinear": set(), "onehot": {"depth"},
}


def parameters(case):
    """The operands to be constants: those that are no floats, and the parameters."""
    names = next((v for k, v in PARAMETERS.items() if any(p.startswith(k) for p in case.name.split("_"))), set())
    inputs = case.model.graph.input
    return [i for i, v in enumerate(inputs) if dtype(v) not in FLOATS or v.name in names]


def dtype(value):
    return value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else None


def plain(array):
    array = numpy_helper.to_array(array) if isinstance(array, TensorProto) else np.asarray(array)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize == 2 and array.dtype.kind == "f":
        array = array.astype(np.float32)
    return array


def main():
    count = 0
    packed = io.BytesIO()
    # Small arrays compress better together than one by one.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for case in sorted(collect_testcases(None), key=lambda c: c.name):
            graph = case.model.graph
            inputs, outputs = [dtype(v) for v in graph.input], [dtype(v) for v in graph.output]
            if not (set(inputs + outputs) <= KNOWN and FLOATS & set(inputs) and FLOATS & set(outputs)):
                continue
            operands, results = case.data_sets[0]
            held = parameters(case)
            for i in reversed(held):
                value = operands[i]
                if not isinstance(value, TensorProto):
                    value = numpy_helper.from_array(np.asarray(value))
                value.name = graph.input[i].name
                graph.initializer.append(value)
                del graph.input[i]
            operands = [a for i, a in enumerate(operands) if i not in held]
            entries = [("model", np.frombuffer(case.model.SerializeToString(), np.uint8))]
            entries += [(f"input{i}", plain(a)) for i, a in enumerate(operands)]
            entries += [(f"output{i}", plain(a)) for i, a in enumerate(results)]
            if sum(array.nbytes for _, array in entries) > LIMIT:
                print(case.name, "is too large")
                continue
            count += 1
            for name, array in entries:
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(array.shape), version=(1, 0))
                info = zipfile.ZipInfo(f"{case.name}/{name}.npy", (1980, 1, 1, 0, 0, 0))
                archive.writestr(info, buffer.getvalue())
    with open("cases.npz.gz", "wb") as file:
        file.write(gzip.compress(packed.getvalue(), 9, mtime=0))
    print(count, "cases")


if __name__ == "__main__":
    main()
