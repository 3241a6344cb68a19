// Runs a model in onnxruntime-web (WebAssembly): node web.mjs MODEL IN.f32 OUT-PREFIX
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const ort = createRequire(process.cwd() + "/")("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const [model, input, out] = process.argv.slice(2);
const session = await ort.InferenceSession.create(readFileSync(model));
const data = new Float32Array(readFileSync(input).buffer.slice(0));
const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", data, [1, 3, 224, 224]) });
for (const name of session.outputNames) {
  const values = results[name].data;
  writeFileSync(`${out}.${name}.f32`, Buffer.from(values.buffer, values.byteOffset, values.byteLength));
}
