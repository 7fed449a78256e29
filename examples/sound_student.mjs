// An exported student on WAV files in Node, with onnxruntime-node or onnxruntime-web: the class and its probability.
//     npm install onnxruntime-web && node sound_student.mjs exports/CORPUS/cnn2-…-fold1-seed0 sound.wav [more.wav …]
// PCM of 16 bits; a sound longer than the clip length is heard in windows that overlap by half, and their mean is shown.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
const ort = await import("onnxruntime-node").catch(() => import("onnxruntime-web"));

/** {rate, samples} of a WAV file: full scale 1, the mean of its channels. */
function readWav(path) {
  const bytes = readFileSync(path);
  const format = {};
  for (let at = 12; at + 8 <= bytes.length; ) {
    const name = bytes.toString("latin1", at, at + 4);
    const size = Math.min(bytes.readUInt32LE(at + 4), bytes.length - at - 8);
    at += 8;
    if (name === "fmt ") {
      Object.assign(format, { channels: bytes.readUInt16LE(at + 2), rate: bytes.readUInt32LE(at + 4), bits: bytes.readUInt16LE(at + 14) });
    } else if (name === "data" && format.bits === 16) {
      const samples = new Float32Array(Math.floor(size / 2 / format.channels));
      const scale = 32768 * format.channels;
      samples.forEach((_, i) => { for (let c = 0; c < format.channels; c++) samples[i] += bytes.readInt16LE(at + 2 * (i * format.channels + c)) / scale; });
      return { rate: format.rate, samples };
    }
    at += size + (size % 2);
  }
  throw new Error(`${path}: expected a PCM WAV file of 16 bits`);
}

const [folder, ...sounds] = process.argv.slice(2);
try {
  if (!sounds.length) throw new Error("usage: node sound_student.mjs EXPORT_FOLDER SOUND.wav…");
  const checked = (name, bytes = readFileSync(join(folder, name))) => {
    const { sha256 = {} } = JSON.parse(readFileSync(join(folder, "proof.json"), "utf8"));
    if (createHash("sha256").update(bytes).digest("hex") === sha256[name]) return bytes;
    throw new Error(`${join(folder, name)} is not the file that proof.json names: export it again`);
  };
  const [{ classes }, { spec }] = ["labels.json", "features.json"].map((name) => JSON.parse(checked(name)));
  for (const sound of sounds) {
    const { rate, samples } = readWav(sound);
    const file = rate === spec.sr ? "student-sound.onnx" : `student-sound.${rate}.onnx`;
    if (!existsSync(join(folder, file))) throw new Error(`${sound}: ${rate} Hz, and there is no ${file}: export --rate ${rate}`);
    const session = await ort.InferenceSession.create(new Uint8Array(checked(file)), { intraOpNumThreads: 1 });
    const size = Math.round(spec.seconds * rate);
    const last = samples.length > size + rate / 43 ? samples.length - size : 0; // a few samples more are no window
    const starts = [...Array(Math.ceil(last / (size >> 1))).keys()].map((i) => i * (size >> 1)).concat(last);
    const sum = classes.map(() => 0);
    for (const start of starts) {
      const window = samples.slice(start, start + size);
      const { probabilities } = await session.run({ samples: new ort.Tensor("float32", window, [1, window.length]) });
      probabilities.data.forEach((p, i) => (sum[i] += p / starts.length));
    }
    const best = sum.indexOf(Math.max(...sum));
    console.log(`${sound}   ${classes[best]} ${(100 * sum[best]).toFixed(1)} %`);
  }
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}
