// Lanes: a row for each object along the whole video, drawn into one canvas.

const ROW = 22;
const TOP = 12;
export const NAMES = 96; // pixels for the names; the scrubber above begins behind them, too

/** A byte a bin, from base64. */
function bytes(text) {
  return text === null ? null : Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

export class Lanes {
  /**
   * @param canvas Where to draw; its width is that of the window.
   * @param onSeek Called with a frame, where the person clicked.
   * @param onSelect Called with the object of the row that was clicked.
   */
  constructor(canvas, { onSeek, onSelect }) {
    this.canvas = canvas;
    this.onSeek = onSeek;
    this.onSelect = onSelect;
    this.frames = 1;
    this.frame = 0;
    this.data = null;
    this.covered = [];
    this.atWork = [];
    this.prompts = [];
    this.selected = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#seek(event, true);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) this.#seek(event, false);
    });
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
  }

  /** Change what is shown; names as in the constructor. */
  show(changes) {
    Object.assign(this, changes);
    if (changes.data) {
      for (const one of changes.data.objects) {
        one.presentB = bytes(one.present);
        one.scoreB = bytes(one.score);
      }
    }
    this.draw();
  }

  get bins() {
    return Math.min(2000, Math.max(60, Math.round(this.canvas.parentElement.clientWidth - NAMES)));
  }

  draw() {
    const width = this.canvas.parentElement.clientWidth;
    const objects = this.data ? this.data.objects : [];
    const height = TOP + ROW * objects.length + 4;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.height = `${height}px`;
    const to = this.canvas.getContext("2d");
    to.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    const ink = style.color;
    // As the scrubber has it: the last frame is at its end.
    const last = Math.max(this.frames - 1, 1);
    const x = (frame) => NAMES + ((width - NAMES) * Math.min(Math.max(frame - 0.5, 0), last)) / last;
    // What has masks, and the chunks that are tracked now.
    to.fillStyle = ink;
    to.globalAlpha = 0.12;
    to.fillRect(NAMES, 3, width - NAMES, 4);
    to.globalAlpha = 0.7;
    for (const [start, stop] of this.covered) to.fillRect(x(start), 3, x(stop) - x(start), 4);
    to.globalAlpha = 0.3;
    for (const [start, stop] of this.atWork) to.fillRect(x(start), 3, x(stop) - x(start), 4);
    objects.forEach((one, row) => this.#lane(to, one, TOP + ROW * row, x, ink, width));
    to.globalAlpha = 1;
    to.fillStyle = ink;
    to.fillRect(x(this.frame + 0.5) - 0.75, 0, 1.5, height);
  }

  #lane(to, one, top, x, ink, width) {
    const { start, stop, bins } = this.data;
    // On whole pixels of the screen, so that neighbours leave no seam.
    const scale = window.devicePixelRatio || 1;
    const from = (bin) => Math.round(x(start + (bin * (stop - start)) / bins) * scale) / scale;
    to.globalAlpha = 1;
    if (one.id === this.selected) {
      to.fillStyle = ink;
      to.globalAlpha = 0.09;
      to.fillRect(0, top - 1, width, ROW);
      to.globalAlpha = 1;
    }
    to.fillStyle = one.colour;
    to.fillRect(4, top + 5, 10, 10);
    to.fillStyle = ink;
    to.font = "12px system-ui, sans-serif";
    to.textBaseline = "middle";
    to.fillText(shorten(to, `${one.id}${one.label ? ` ${one.label}` : ""}`, NAMES - 26), 19, top + 10);
    if (one.presentB) {
      for (let bin = 0; bin < bins; bin += 1) {
        const share = one.presentB[bin];
        const left = from(bin);
        const wide = from(bin + 1) - left;
        if (share === 1) {
          to.fillStyle = ink;
          to.globalAlpha = 0.13;
          to.fillRect(left, top + 8, wide, 3);
        } else if (share > 1) {
          // As high as it is sure: a doubt is a dent.
          const sure = (one.scoreB[bin] - 1) / 100;
          const high = 3 + 11 * Math.max(sure, 0);
          to.fillStyle = one.colour;
          to.globalAlpha = 0.35 + (0.65 * (share - 1)) / 100;
          to.fillRect(left, top + 17 - high, wide, high);
        }
      }
    }
    to.globalAlpha = 1;
    for (const prompt of this.prompts) {
      if (prompt.id !== one.id) continue;
      to.fillStyle = ink;
      to.beginPath();
      to.arc(x(prompt.frame + 0.5), top + 10, 3, 0, 7);
      to.fill();
    }
    for (const kind of this.data.findings.kinds) {
      for (const found of kind.worst) {
        if (found.object !== one.id && found.object !== null) continue;
        const at = x(found.frame + 0.5);
        to.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--finding") || "#d33";
        to.beginPath();
        to.moveTo(at - 4, top + 1);
        to.lineTo(at + 4, top + 1);
        to.lineTo(at, top + 8);
        to.fill();
      }
    }
  }

  #seek(event, first) {
    const box = this.canvas.getBoundingClientRect();
    const along = (event.clientX - box.left - NAMES) / (box.width - NAMES);
    if (first && this.data) {
      const row = Math.floor((event.clientY - box.top - TOP) / ROW);
      const one = this.data.objects[row];
      if (one) this.onSelect(one.id);
    }
    if (along < 0) return;
    const last = this.frames - 1;
    this.onSeek(Math.min(Math.max(Math.round(along * last), 0), last));
  }
}

function shorten(to, text, width) {
  let shown = text;
  while (to.measureText(shown).width > width && shown.length > 2) {
    shown = `${shown.replace(/…$/, "").slice(0, -1)}…`;
  }
  return shown;
}
