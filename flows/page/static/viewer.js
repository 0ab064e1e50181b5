// The stage: the picture of a frame, and layers over it. Layers draw in pixels of the video.

import { wantWidth } from "./pictures.js";
import { on, state } from "./state.js";

const stage = document.querySelector("#stage");
const picture = document.querySelector("#picture");
const overlay = document.querySelector("#overlay");
const layers = [];
const zoom = { scale: 1, x: 0.5, y: 0.5 }; // x, y: what is in the middle, as a part of the video
let queued = false;

// A layer is called with a context that is scaled to pixels of the video, and how many of the
// screen's one of these is.
export function addLayer(draw) {
  layers.push(draw);
}

export function redraw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    drawAll();
  });
}

// {scale, left, top}: from pixels of the video to those of the stage.
export function view() {
  const { width, height } = state.video ?? {};
  const box = { width: stage.clientWidth, height: stage.clientHeight };
  if (!width) return { scale: 1, left: 0, top: 0 };
  const fit = Math.min(box.width / width, box.height / height);
  const scale = fit * zoom.scale;
  return {
    scale,
    left: box.width / 2 - zoom.x * width * scale,
    top: box.height / 2 - zoom.y * height * scale,
  };
}

// Where a pointer is, in pixels of the video.
export function toVideo(event) {
  const box = stage.getBoundingClientRect();
  const { scale, left, top } = view();
  return { x: (event.clientX - box.left - left) / scale, y: (event.clientY - box.top - top) / scale };
}

export function isInside({ x, y }) {
  return state.video && x >= 0 && y >= 0 && x < state.video.width && y < state.video.height;
}

export function clampToVideo({ x, y }) {
  const { width, height } = state.video;
  return { x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1) };
}

export function zoomBy(factor, at = null) {
  if (!state.video?.width) return;
  const { width, height } = state.video;
  const before = at ? toVideo(at) : { x: zoom.x * width, y: zoom.y * height };
  zoom.scale = Math.min(20, Math.max(1, zoom.scale * factor));
  if (at) {
    const after = toVideo(at);
    zoom.x += (before.x - after.x) / width;
    zoom.y += (before.y - after.y) / height;
  }
  keepInside();
}

export function panBy(dx, dy) {
  const { scale } = view();
  zoom.x -= dx / (scale * state.video.width);
  zoom.y -= dy / (scale * state.video.height);
  keepInside();
}

export function fit() {
  Object.assign(zoom, { scale: 1, x: 0.5, y: 0.5 });
  keepInside();
}

export const isZoomed = () => zoom.scale > 1;

function keepInside() {
  const half = 0.5 / zoom.scale;
  zoom.x = Math.min(1 - half, Math.max(half, zoom.x));
  zoom.y = Math.min(1 - half, Math.max(half, zoom.y));
  resize();
}

function resize() {
  const ratio = devicePixelRatio || 1;
  for (const canvas of [picture, overlay]) {
    const [width, height] = [Math.round(stage.clientWidth * ratio), Math.round(stage.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }
  if (state.video?.width) wantWidth(Math.min(state.video.width, view().scale * state.video.width * ratio));
  redraw();
}

function drawAll() {
  const ratio = devicePixelRatio || 1;
  const { scale, left, top } = view();
  const over = overlay.getContext("2d");
  over.setTransform(1, 0, 0, 1, 0, 0);
  over.clearRect(0, 0, overlay.width, overlay.height);
  if (!state.video?.width) return;
  if (state.shown) {
    const under = picture.getContext("2d");
    under.setTransform(ratio, 0, 0, ratio, 0, 0);
    under.clearRect(0, 0, picture.width, picture.height);
    under.imageSmoothingEnabled = scale < 3;
    under.drawImage(state.shown.bitmap, left, top, state.video.width * scale, state.video.height * scale);
    document.body.dataset.frame = state.shown.frame;
  }
  over.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * left, ratio * top);
  for (const draw of layers) {
    over.save();
    draw(over, 1 / scale);
    over.restore();
  }
}

new ResizeObserver(resize).observe(stage);
on("video", resize);
on("shown masks project selected cursor candidates tool", redraw);
stage.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), event);
  },
  { passive: false },
);
