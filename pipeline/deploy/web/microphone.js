/** Sends what the microphone gives, a mean of its channels, in pieces. */
const TAP = `registerProcessor("tap", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) this.port.postMessage(channels[0].map((_, i) => channels.reduce((sum, c) => sum + c[i], 0) / channels.length));
    return true;
  }
});`;

let microphone = null;

async function stopMicrophone() {
  if (!microphone) return;
  const { stream, context } = microphone;
  microphone = null;
  stream.getTracks().forEach((track) => track.stop());
  await context.close();
  element("microphone").setAttribute("aria-pressed", "false");
  element("microphone").textContent = "use the microphone";
  state("The microphone is off.");
}

/** From now on the last clip length is heard every quarter of it, at the microphone's own rate. */
async function startMicrophone() {
  try {
    if (!navigator.mediaDevices) throw new Error("no microphone for this page; expected https, localhost or a file from disk");
    const unprocessed = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: unprocessed });
    const context = new AudioContext();
    microphone = { stream, context };
    const rate = context.sampleRate;
    await session(rate);
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([TAP], { type: "text/javascript" })));
    const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 0 });
    context.createMediaStreamSource(stream).connect(tap);
    listen(tap.port, rate);
    element("microphone").setAttribute("aria-pressed", "true");
    element("microphone").textContent = "stop the microphone";
    state(`Listening at ${rate} Hz: the last ${about.seconds} s count.`);
  } catch (error) {
    await stopMicrophone();
    state(error.message || String(error), true);
  }
}

function listen(port, rate) {
  const size = Math.round(about.seconds * rate);
  const heard = new Float32Array(size);
  let count = 0; // samples in ``heard``
  let fresh = 0; // samples since the last answer
  let busy = false;
  port.onmessage = async ({ data }) => {
    const kept = Math.min(count, size - data.length);
    heard.copyWithin(0, count - kept, count);
    heard.set(data, kept);
    count = kept + data.length;
    fresh += data.length;
    if (busy || fresh < STEP * size || !microphone) return;
    [busy, fresh] = [true, 0];
    try {
      const answer = await clipAnswer(heard.slice(0, count), rate);
      if (microphone) showAnswer(answer.probabilities, answer);
    } catch (error) {
      await stopMicrophone();
      state(error.message, true);
    }
    busy = false;
  };
}
