// Runs a model over images in onnxruntime-web (WebAssembly), one after the other: node web.mjs MODEL IN.f32 OUT
// in a folder that has the package; writes OUT.0.f32, OUT.1.f32, … as engines.py does.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const ort = createRequire(process.cwd() + "/")("onnxruntime-web");
ort.env.wasm.numThreads = 1;
const [model, input, out] = process.argv.slice(2);
const session = await ort.InferenceSession.create(readFileSync(model));
const images = new Float32Array(readFileSync(input).buffer.slice(0));
const size = 3 * 224 * 224;
const written = Object.fromEntries(session.outputNames.map((name) => [name, []]));
for (let at = 0; at < images.length; at += size) {
  const image = new ort.Tensor("float32", images.slice(at, at + size), [1, 3, 224, 224]);
  const results = await session.run({ [session.inputNames[0]]: image });
  for (const name of session.outputNames) {
    const values = results[name].data;
    written[name].push(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  }
}
session.outputNames.forEach((name, i) => writeFileSync(`${out}.${i}.f32`, Buffer.concat(written[name])));
