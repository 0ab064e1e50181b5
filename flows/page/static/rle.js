// Masks as COCO's compressed run lengths: down the columns, background first.

export function decodeRuns(counts) {
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let place = 0;
    let more = true;
    while (more) {
      const group = counts.charCodeAt(at++) - 48;
      value += (group & 31) * 2 ** place;
      more = (group & 32) !== 0;
      place += 5;
      if (!more && group & 16) value -= 2 ** place;
    }
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

// One byte a pixel, row by row: 1 is inside.
export function decodeMask({ size: [height, width], counts }) {
  const runs = typeof counts === "string" ? decodeRuns(counts) : counts;
  const inside = new Uint8Array(height * width);
  let pixel = 0;
  runs.forEach((run, place) => {
    if (place % 2) {
      for (let at = pixel; at < pixel + run; at++) {
        inside[(at % height) * width + Math.floor(at / height)] = 1;
      }
    }
    pixel += run;
  });
  return inside;
}

export function encodeMask(inside, height, width) {
  const counts = [];
  let value = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const here = inside[y * width + x] ? 1 : 0;
      if (here !== value) {
        counts.push(run);
        run = 0;
        value = here;
      }
      run++;
    }
  }
  counts.push(run);
  return { size: [height, width], counts };
}

// A picture of the mask in a colour, with a clear edge.
export function maskPicture(mask, colour, { alpha = 0.42 } = {}) {
  const [height, width] = mask.size;
  const inside = decodeMask(mask);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  const image = new ImageData(width, height);
  const edge = Math.max(1, Math.round(Math.max(width, height) / 640));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (!inside[at]) continue;
      const isEdge =
        x < edge || y < edge || x >= width - edge || y >= height - edge ||
        !inside[at - edge] || !inside[at + edge] || !inside[at - edge * width] || !inside[at + edge * width];
      image.data.set([red, green, blue, isEdge ? 235 : Math.round(255 * alpha)], at * 4);
    }
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
