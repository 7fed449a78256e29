const about = JSON.parse(document.getElementById("about").textContent);
const element = (id) => document.getElementById(id);
const SHOWN = 5; // classes
const AHEAD = 0.25; // seconds beyond a clip that resampling may look at
const STEP = 0.25; // of the clip length, between two answers to the microphone

/** A file of the page: inside of it in base64, or beside it. */
async function bytesOf(name) {
  const inside = document.getElementById(`file:${name}`);
  const bytes = inside ? fromBase64(inside.textContent) : await fetched(name);
  await requireWritten(name, bytes);
  return bytes;
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}; expected it beside the page`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** Throws where a file is not the one that the page was written with. Browsers compute digests only for https, localhost and disk. */
async function requireWritten(name, bytes) {
  if (!crypto.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const words = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (words !== about.sha256[name]) throw new Error(`${name} is not what was written (SHA-256 differs): write the page again, audio-rkd web`);
}

function fromBase64(words) {
  const raw = atob(words.trim());
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

let ort; // onnxruntime-web
const models = {}; // rate -> bytes
const sessions = {}; // rate -> promise of a session

async function load() {
  const script = new Blob([await bytesOf(about.runtime.script)], { type: "text/javascript" });
  const [runtime, wasm] = await Promise.all([import(URL.createObjectURL(script)), bytesOf(about.runtime.wasm)]);
  ort = runtime;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1;
  for (const [rate, name] of Object.entries(about.models)) models[rate] = await bytesOf(name);
}

function session(rate) {
  if (!models[rate]) {
    const known = Object.keys(models).map((each) => `${each} Hz`).join(", ");
    throw new Error(`a sound of ${rate} Hz, and this page is for ${known}; audio-rkd ${about.heard ? "final" : "export"} --rate ${rate}, then write the page again`);
  }
  sessions[rate] ||= readySession(models[rate]);
  return sessions[rate];
}

/** A session that has run once: the first run prepares its memory, and its time is no clip's. */
async function readySession(model) {
  const made = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
  await made.run({ samples: new ort.Tensor("float32", new Float32Array(1), [1, 1]) });
  return made;
}

let turn = Promise.resolve();
/** One call after the other: the runtime computes one clip at a time. */
function inTurn(call) {
  turn = turn.catch(() => {}).then(call);
  return turn;
}

/** What the network says of one clip: {logits, probabilities, features, shape, ms}. */
function clipAnswer(samples, rate) {
  return inTurn(async () => {
    const model = await session(rate);
    const start = performance.now();
    const output = await model.run({ samples: new ort.Tensor("float32", samples, [1, samples.length]) });
    const ms = performance.now() - start;
    const { logits, probabilities, features } = output;
    return { logits: [...logits.data], probabilities: [...probabilities.data], features: features.data, shape: features.dims, ms };
  });
}

/** What it says of a sound of any length: the mean of its windows' probabilities, as predict has it, shown as it goes. */
async function soundAnswer({ samples, rate }, show = true) {
  if (!samples.length) throw new Error("a sound without samples; expected at least one");
  if (!samples.every(Number.isFinite)) throw new Error("samples that are no numbers; expected finite ones");
  const size = Math.round(about.seconds * rate);
  const starts = windowStarts(samples.length, size, Math.round(about.slack * rate));
  const answers = [];
  let sum = about.classes.map(() => 0);
  for (const start of starts) {
    const answer = await clipAnswer(samples.slice(start, start + size + Math.round(AHEAD * rate)), rate);
    answers.push(answer);
    sum = sum.map((value, i) => value + answer.probabilities[i]);
    if (show) showAnswer(sum.map((value) => value / answers.length), answer, answers.length, starts.length);
  }
  const ms = answers.map((answer) => answer.ms).sort((a, b) => a - b)[answers.length >> 1];
  return { probabilities: sum.map((value) => value / answers.length), logits: answers.map((answer) => answer.logits), ms };
}

const ranked = (probabilities) => probabilities.map((p, i) => [p, about.classes[i]]).sort((a, b) => b[0] - a[0]);
/** Whether an answer is none of the classes: its largest probability is below the threshold of a student that has one. */
const isNone = (probabilities) => about.threshold !== null && Math.max(...probabilities) < about.threshold;
/** How many of the ranked classes are there, where each is by itself. */
const countPresent = (probabilities) => (about.several ? probabilities.filter((p) => p >= about.threshold).length : 0);
const percent = (p) => `${(100 * p).toFixed(1)} %`;

function showAnswer(probabilities, answer, count = 1, all = 1) {
  const shown = Math.max(SHOWN, countPresent(probabilities));
  const items = ranked(probabilities).slice(0, shown).map(([p, name]) => {
    const item = document.createElement("li");
    if (about.several && p < about.threshold) item.className = "absent";
    item.style.setProperty("--share", `${100 * p}%`);
    item.append(spanOf(name), spanOf(percent(p)));
    return item;
  });
  if (isNone(probabilities)) {
    const item = document.createElement("li");
    item.className = "none";
    item.style.setProperty("--share", "0%");
    item.append(spanOf(about.none), spanOf(`at most ${percent(Math.max(...probabilities))}`));
    items.unshift(item);
  }
  element("bars").replaceChildren(...items);
  drawFeature(answer.features, answer.shape);
  const windows = all > 1 ? `, clip ${count} of ${all} (the bars are the mean)` : "";
  element("time").textContent = `${answer.ms.toFixed(0)} ms for a clip of ${about.seconds} s${windows}`;
}

function spanOf(words) {
  const span = document.createElement("span");
  span.textContent = words;
  return span;
}

/** Dark blue, magenta, orange, pale yellow: even steps look even. */
const COLOURS = [[3, 5, 25], [75, 20, 100], [165, 45, 95], [235, 105, 45], [252, 250, 190]];

/** The mel-spectrogram, 80 dB from black to pale, or another feature from its least to its largest value; the first row below. */
function drawFeature(features, [, , bands, frames]) {
  const start = about.picture.plane * bands * frames;
  const levels = features.subarray(start, start + bands * frames);
  const loudest = levels.reduce((a, b) => Math.max(a, b), -Infinity);
  const least = levels.reduce((a, b) => Math.min(a, b), Infinity);
  const range = about.picture.name === "melspectrogram" ? 80 : Math.max(loudest - least, 1e-9);
  const canvas = element("picture");
  [canvas.width, canvas.height] = [frames, bands];
  const context = canvas.getContext("2d");
  const image = context.createImageData(frames, bands);
  for (let band = 0; band < bands; band++) {
    for (let frame = 0; frame < frames; frame++) {
      const place = 4 * (1 - Math.min(1, (loudest - levels[band * frames + frame]) / range));
      const low = Math.min(3, Math.floor(place));
      const pixel = 4 * ((bands - 1 - band) * frames + frame);
      for (let c = 0; c < 3; c++) {
        image.data[pixel + c] = COLOURS[low][c] + (place - low) * (COLOURS[low + 1][c] - COLOURS[low][c]);
      }
      image.data[pixel + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

function state(words, error = false) {
  element("state").textContent = words;
  element("state").classList.toggle("error", error);
}

/** A sound file that was dropped or chosen. */
async function hearFile(file) {
  await stopMicrophone();
  try {
    state(`${file.name} …`);
    const sound = await readSound(await file.arrayBuffer(), file.name);
    const answer = await soundAnswer(sound);
    state(`${file.name}: ${(sound.samples.length / sound.rate).toFixed(2)} s at ${sound.rate} Hz`);
    return answer;
  } catch (error) {
    state(error.message, true);
    throw error;
  }
}

let player = null;

/** A row of the examples: a button that plays and shows it, its name, Python's answer, and a place for the page's. */
function exampleRow(example, sound, url) {
  const row = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "▶";
  button.setAttribute("aria-label", `play ${example.name}`);
  button.onclick = async () => {
    await stopMicrophone();
    player?.pause();
    player = new Audio(url);
    player.play().catch(() => {});
    await soundAnswer(sound);
    state(`${example.name}: it is ${example.label}`);
  };
  const cells = [
    ["name", example.name, `is ${example.label}`],
    ["python", firstOf(example.probabilities)[0], `Python, ${firstOf(example.probabilities)[1]}`],
    ["page", "…", "this page"],
  ].map(([kind, words, ...notes]) => {
    const cell = document.createElement("div");
    cell.className = kind;
    const small = document.createElement("small");
    small.textContent = notes.join(", ");
    cell.append(words, small);
    return cell;
  });
  row.append(button, ...cells);
  return row;
}

/** Whether two answers name the same classes, in whichever order: of classes that are there alike the last digits decide it. */
const isSame = (one, other) => {
  const sets = [one, other].map((p) => (about.several ? p.map((value) => value >= about.threshold) : [firstOf(p)[0]]));
  return sets[0].every((value, i) => value === sets[1][i]);
};

function firstOf(probabilities) {
  const order = ranked(probabilities);
  const names = order.slice(0, countPresent(probabilities) || 1).map(([, name]) => name);
  return [isNone(probabilities) ? about.none : names.join("; "), percent(order[0][0])];
}

/** Every example through the page; what it says beside what Python said. */
async function compareExamples() {
  const results = [];
  for (const example of about.examples) {
    const bytes = await bytesOf(example.file);
    const sound = readWav(bytes.buffer);
    const row = exampleRow(example, sound, URL.createObjectURL(new Blob([bytes], { type: "audio/wav" })));
    element("examples").append(row);
    const { probabilities, logits, ms } = await soundAnswer(sound, !results.length);
    const [name, share] = firstOf(probabilities);
    const same = isSame(probabilities, example.probabilities);
    const cell = row.querySelector(".page");
    cell.firstChild.textContent = name;
    cell.classList.add(same ? "same" : "other");
    cell.querySelector("small").textContent = `this page, ${share} in\u00a0${ms.toFixed(0)}\u00a0ms`;
    const difference = Math.max(...logits[0].map((value, i) => Math.abs(value - example.logits[i])));
    results.push({ file: example.file, same, difference, ms });
  }
  const same = results.filter((result) => result.same).length;
  const worst = Math.max(0, ...results.map((result) => result.difference));
  element("agreement").textContent =
    `The same ${about.several ? "classes" : "class"} on ${same} of ${results.length}; logits differ by at most ${worst.toExponential(0)}.`;
  element("agreement").classList.toggle("other", same < results.length);
  return results;
}

function describe() {
  const rates = Object.keys(about.models).map((rate) => `${rate} Hz`).join(", ");
  element("network").textContent =
    `${about.network}, ${about.classes.length} classes of ${about.corpus}; sounds of ${rates}; audio-rkd ${about.version}`;
  element("stamp").hidden = !about.synthetic;
  element("stamp").textContent = "SYNTHETIC: trained on made-up sounds; it knows nothing of real ones.";
  element("length").textContent = `${about.seconds} s`;
  element("feature").textContent = about.picture.name === "melspectrogram" ? "mel-spectrogram, low bands below" : about.picture.name;
  element("examples-about").textContent =
    `${about.examples.length} clips of fold ${about.fold}, which this network was ${about.heard ? "trained on, as on all" : "not trained on"}, ` +
    `at ${about.rate} Hz and 16 bits.` +
    (about.several ? ` A class is there from ${percent(about.threshold)} on, each by itself; without any it is "${about.none}".` :
     about.threshold === null ? "" : ` An answer below ${percent(about.threshold)} is "${about.none}".`);
}

function connect() {
  const drop = element("drop");
  element("file").onchange = ({ target }) => target.files.length && hearFile(target.files[0]).catch(() => {});
  element("microphone").onclick = () => (microphone ? stopMicrophone() : startMicrophone());
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) hearFile(event.dataTransfer.files[0]).catch(() => {});
    });
  }
}

async function start() {
  describe();
  try {
    await load();
    connect();
    state("Ready.");
    return await compareExamples();
  } catch (error) {
    state(error.message, true);
    throw error;
  }
}

/** What the page said of its examples; for who looks in from outside. */
const started = start();
started.catch(() => {});
