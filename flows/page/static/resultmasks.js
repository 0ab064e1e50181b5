// Masks of a result over the video: one small picture a frame, in which each pixel says whose it is.

/** The masks of one frame: `at(x, y)` gives the object under a pixel of the video, or null. */
export class FrameMasks {
  constructor(said, width, height, indexN) {
    this.frame = said.frame;
    this.key = said.key;
    this.objects = said.objects;
    this.present = said.present;
    this.width = width;
    this.height = height;
    this.indexN = indexN;
  }

  at(x, y, videoWidth, videoHeight) {
    const column = Math.floor((x * this.width) / videoWidth);
    const row = Math.floor((y * this.height) / videoHeight);
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return null;
    const place = this.indexN[row * this.width + column];
    return place ? this.present[place - 1] : null;
  }

  /** A canvas with tints and outlines; the object that is selected is brighter, some are left out. */
  draw(selected, without) {
    const { width, height, indexN, present, objects } = this;
    const colours = new Map(objects.map((one) => [one.id, rgb(one.colour)]));
    const picture = new ImageData(width, height);
    const pixels = picture.data;
    for (let row = 0, n = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1, n += 1) {
        const place = indexN[n];
        if (!place) continue;
        const edge =
          column === 0 || row === 0 || column === width - 1 || row === height - 1 ||
          indexN[n - 1] !== place || indexN[n + 1] !== place ||
          indexN[n - width] !== place || indexN[n + width] !== place;
        const id = present[place - 1];
        if (without.has(id)) continue;
        const [red, green, blue] = colours.get(id);
        pixels[4 * n] = red;
        pixels[4 * n + 1] = green;
        pixels[4 * n + 2] = blue;
        pixels[4 * n + 3] = edge ? 255 : id === selected ? 150 : 105;
      }
    }
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").putImageData(picture, 0, 0);
    return canvas;
  }
}

function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Read what the server says of a frame's masks. */
export async function readMasks(said) {
  const bytes = Uint8Array.from(atob(said.png), (one) => one.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  picture.close();
  const pixels = context.getImageData(0, 0, width, height).data;
  const indexN = new Uint32Array(width * height);
  for (let n = 0; n < indexN.length; n += 1) {
    indexN[n] = pixels[4 * n] + 256 * pixels[4 * n + 1] + 65536 * pixels[4 * n + 2];
  }
  return new FrameMasks(said, width, height, indexN);
}
