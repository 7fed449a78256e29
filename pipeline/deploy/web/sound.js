"use strict";

/** A WAV file's {rate, samples}: Float32Array, full scale 1, the mean of the channels. null: no WAV, or of a coding not read here. */
function readWav(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 12 || text(view, 0, 4) !== "RIFF" || text(view, 8, 4) !== "WAVE") return null;
  let format = null;
  for (let at = 12; at + 8 <= buffer.byteLength; ) {
    const name = text(view, at, 4);
    const size = Math.min(view.getUint32(at + 4, true), buffer.byteLength - at - 8);
    at += 8;
    if (name === "fmt " && size >= 16) {
      const code = view.getUint16(at, true);
      format = {
        code: code === 0xfffe && size >= 26 ? view.getUint16(at + 24, true) : code,
        channels: view.getUint16(at + 2, true),
        rate: view.getUint32(at + 4, true),
        width: (view.getUint16(at + 14, true) + 7) >> 3,
      };
    } else if (name === "data" && format) {
      const read = sampleReader(format.code, format.width);
      return read && format.channels ? { rate: format.rate, samples: mono(view, at, size, format, read) } : null;
    }
    at += size + (size & 1);
  }
  return null;
}

/** How a sample at a place of a DataView is read; null for codings other than PCM and floating point. */
function sampleReader(code, width) {
  const readers = {
    "1 1": (view, at) => (view.getUint8(at) - 128) / 128,
    "1 2": (view, at) => view.getInt16(at, true) / 32768,
    "1 3": (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 8388608,
    "1 4": (view, at) => view.getInt32(at, true) / 2147483648,
    "3 4": (view, at) => view.getFloat32(at, true),
    "3 8": (view, at) => view.getFloat64(at, true),
  };
  return readers[`${code} ${width}`] || null;
}

function mono(view, start, size, { channels, width }, read) {
  const samples = new Float32Array(Math.floor(size / (width * channels)));
  for (let i = 0; i < samples.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += read(view, start + (i * channels + c) * width);
    samples[i] = sum / channels;
  }
  return samples;
}

/** The sampling rate that a sound file states (WAV, FLAC, Ogg, MP3), so that a browser decodes it without resampling; 0: unknown. */
function statedRate(buffer) {
  const view = new DataView(buffer);
  const head = text(view, 0, Math.min(512, buffer.byteLength));
  if (head.startsWith("RIFF")) {
    const at = head.indexOf("fmt ");
    return at > 0 && at + 16 <= buffer.byteLength ? view.getUint32(at + 12, true) : 0;
  }
  const flac = head.indexOf("fLaC");
  if (flac === 0 || (flac > 0 && head.startsWith("OggS"))) return view.getUint32(flac + 18) >>> 12;
  if (head.startsWith("OggS")) {
    const at = head.indexOf("\x01vorbis");
    return at > 0 ? view.getUint32(at + 12, true) : head.includes("OpusHead") ? 48000 : 0;
  }
  return mpegRate(view, head);
}

function mpegRate(view, head) {
  const syncsafe = (at) => [0, 1, 2, 3].reduce((sum, i) => sum * 128 + view.getUint8(at + i), 0);
  const start = head.startsWith("ID3") ? 10 + syncsafe(6) : 0;
  for (let at = start; at + 4 <= Math.min(view.byteLength, start + 4096); at++) {
    const [second, third] = [view.getUint8(at + 1), view.getUint8(at + 2)];
    const [version, layer, index] = [(second >> 3) & 3, (second >> 1) & 3, (third >> 2) & 3];
    if (view.getUint8(at) === 0xff && second >= 0xe0 && version !== 1 && layer && index < 3 && third >> 4 < 15) {
      return [44100, 48000, 32000][index] >> [2, 0, 1, 0][version];
    }
  }
  return 0;
}

function text(view, at, count) {
  let word = "";
  for (let i = at; i < at + count; i++) word += String.fromCharCode(view.getUint8(i));
  return word;
}

/** {rate, samples} of a sound file: WAV by ``readWav``, other formats by the browser at the rate that they state. */
async function readSound(buffer, name) {
  const wav = readWav(buffer);
  if (wav) return wav;
  const rate = statedRate(buffer);
  if (!rate) throw new Error(`${name}: not a sound that is read here; expected WAV, FLAC, Ogg or MP3`);
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer.slice(0));
  } catch (error) {
    throw new Error(`${name}: this browser cannot decode it (${error.message || error.name}); expected WAV, FLAC, Ogg or MP3`);
  }
  const samples = new Float32Array(decoded.length);
  for (let c = 0; c < decoded.numberOfChannels; c++) {
    const channel = decoded.getChannelData(c);
    for (let i = 0; i < samples.length; i++) samples[i] += channel[i] / decoded.numberOfChannels;
  }
  return { rate, samples };
}

/** Where windows of ``size`` samples begin that overlap by half, the last one ending with the sound; a little more is no window. */
function windowStarts(length, size, slack) {
  if (length <= size + slack) return [0];
  const starts = [];
  for (let at = 0; at < length - size; at += Math.max(1, size >> 1)) starts.push(at);
  return [...starts, length - size];
}
