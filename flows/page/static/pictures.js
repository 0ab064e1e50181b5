// Pictures of frames: one request at a time for what is wanted now, and the next few while playing.

import { ask } from "./api.js";
import { on, state, update } from "./state.js";
import { say } from "./toasts.js";

const MOST = 48;
const kept = new Map(); // "frame/width" -> {bitmap, time}
let busy = false;
let width = 1280;

export function wantWidth(pixels) {
  const wanted = Math.max(320, Math.min(3840, Math.round(pixels)));
  if (wanted !== width) {
    width = wanted;
    if (state.shown) update({ shown: null });
    load();
  }
}

const step = () => [320, 480, 640, 960, 1280, 1600, 1920, 2560, 3840].find((one) => one >= width) ?? 3840;
const keyOf = (frame) => `${frame}/${step()}`;

async function fetchPicture(frame) {
  const key = keyOf(frame);
  if (kept.has(key)) return kept.get(key);
  const answer = await ask(`frames/${frame}?width=${step()}`);
  const time = Number(answer.headers.get("x-time"));
  const bitmap = await createImageBitmap(await answer.blob());
  const picture = { frame, time, bitmap };
  kept.set(key, picture);
  for (const old of kept.keys()) {
    if (kept.size <= MOST) break;
    if (kept.get(old).frame !== state.shown?.frame) {
      kept.get(old).bitmap.close();
      kept.delete(old);
    }
  }
  return picture;
}

async function load() {
  if (busy || !state.video?.indexed) return;
  busy = true;
  try {
    while (state.shown?.frame !== state.frame) {
      const frame = state.frame;
      const picture = await fetchPicture(frame);
      // While somebody scrubs, what has come is better than nothing.
      update({ shown: picture });
      if (frame === state.frame) break;
    }
    if (state.playing) {
      for (const next of [1, 2, 3]) {
        const frame = state.frame + next;
        if (frame < state.video.indexed) fetchPicture(frame).catch(() => {});
      }
    }
  } catch (error) {
    say(error.message);
  } finally {
    busy = false;
  }
}

on("frame", load);
on("video", () => {
  if (!state.shown) load();
});
