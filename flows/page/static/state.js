// What the page knows. Modules read `state`, change it by `update`, and listen by `on`.
//
// Topics of the server's news (video, model, encode, project, work, and those of other panels) are
// members of the same name; the rest is this window's own.

import { get } from "./api.js";

export const state = {
  video: null, // {indexed, claimed, finished, error, name, width, height, rate, times}
  model: null, // {state: loading | downloading | ready | failed, name, device, error}
  encode: null, // {frame, done}
  project: null, // {revision, objects, canUndo, canRedo, file}
  run: null, // {state: none | running | stopped | done, running, stopping, line, failed, command, chunks, covered, key, before}
  redo: null, // {revision, changed, text}: what a run would track again
  which: "now", // now | before | split: which result is over the video
  holds: "here", // here | all: for which frames a correction is
  work: null, // {what, done, total}: a scan, a download
  frame: 0, // the frame that is wanted
  shown: null, // {frame, time}: the picture on the screen
  selected: null, // id of an object
  tool: "point", // point | brush | lasso
  label: 1, // what a plain click says
  cursor: null, // {x, y} of the cross, in pixels of the video
  masks: null, // {frame, revision, masks: [{id, mask, score}]}
  candidates: null, // {frame, list, hover}
  playing: false,
};

const listeners = [];

export function on(names, call) {
  listeners.push([names.split(" "), call]);
}

export function update(changes) {
  const changed = new Set();
  for (const [name, value] of Object.entries(changes)) {
    if (state[name] !== value) changed.add(name);
    state[name] = value;
  }
  for (const [names, call] of listeners) {
    if (names.some((name) => changed.has(name))) call(changed);
  }
}

export function objectOf(id) {
  return state.project?.objects.find((item) => item.id === id) ?? null;
}

export function promptOn(object, frame) {
  return object?.prompts.find((prompt) => prompt.frame === frame) ?? null;
}

// Follow the server for as long as it is there; `onLost` is told once it is not.
export async function follow(onLost) {
  let version = 0;
  for (let failures = 0; failures < 3; ) {
    try {
      const news = await get(`news?since=${version}`);
      failures = 0;
      version = news.version;
      // Another window may have been faster than the answer to this one's own edit.
      if (news.topics.project && state.project && news.topics.project.revision < state.project.revision) {
        delete news.topics.project;
      }
      update(news.topics);
    } catch (error) {
      if (error.status === 401) return onLost(error.message);
      failures += 1;
      await new Promise((done) => setTimeout(done, 400));
    }
  }
  return onLost("The server has ended. What you did is saved; start longtake open again.");
}

export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  const rest = String(Math.floor((seconds - whole) * 1000 + 0.5)).padStart(3, "0").slice(0, 3);
  return `${h ? `${h}:${two(m)}` : m}:${two(s)}.${rest}`;
}

// The time of a frame, by the frames whose times are known.
export function timeOf(frame) {
  const times = state.video?.times;
  if (!times?.length) return 0;
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle][0] <= frame) low = middle;
    else high = middle;
  }
  const [f0, t0] = times[low];
  const [f1, t1] = times[high];
  return f1 > f0 ? t0 + ((frame - f0) / (f1 - f0)) * (t1 - t0) : t0;
}

export function frameAt(seconds) {
  const times = state.video?.times;
  if (!times?.length) return 0;
  let place = times.findIndex(([, time]) => time > seconds);
  if (place < 0) return times.at(-1)[0];
  if (place === 0) place = 1;
  const [f0, t0] = times[place - 1];
  const [f1, t1] = times[place];
  return Math.floor(f0 + ((seconds - t0) / (t1 - t0)) * (f1 - f0) + 1e-6);
}
