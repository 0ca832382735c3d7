// Where the head looked, drawn over a picture: one hue that grows denser, and a line around the half
// that got the most, which shows on any ground.

const FINE = 320;
const HUE = [255, 196, 0, 0];
const EDGE = [20, 20, 20, 230];
const DENSEST = 170;

// Paint a step of a map over a picture of the given shape (width / height); smooth between its places.
function paintMap(canvas, map, step, shape) {
  canvas.width = FINE;
  canvas.height = Math.max(1, Math.round(FINE / shape));
  const weights = smoothed(map, step, canvas.width, canvas.height);
  const most = Math.max(...weightsOf(map, step)) || 1;
  const picture = new ImageData(canvas.width, canvas.height);
  for (let place = 0; place < weights.length; place += 1) {
    const right = (place + 1) % canvas.width ? weights[place + 1] : weights[place];
    const below = weights[place + canvas.width] ?? weights[place];
    const inside = weights[place] > most / 2;
    const edge = right > most / 2 !== inside || below > most / 2 !== inside;
    picture.data.set(edge ? EDGE : HUE, 4 * place);
    if (!edge) picture.data[4 * place + 3] = (DENSEST * weights[place]) / 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function weightsOf(map, step) {
  const places = map.height * map.width;
  return map.codes.subarray(step * places, (step + 1) * places);
}

// Linear between the middles of the map's places, which cut the picture into equal parts.
function smoothed(map, step, width, height) {
  const weights = weightsOf(map, step);
  const out = new Float32Array(width * height);
  const columns = Array.from({ length: width }, (_, x) => between(x, width, map.width));
  for (let y = 0; y < height; y += 1) {
    const [above, below, down] = between(y, height, map.height, map.width);
    for (let x = 0; x < width; x += 1) {
      const [left, right, along] = columns[x];
      const over = weights[above + left] * (1 - along) + weights[above + right] * along;
      const under = weights[below + left] * (1 - along) + weights[below + right] * along;
      out[y * width + x] = over * (1 - down) + under * down;
    }
  }
  return out;
}

// The two places that a point lies between (by their numbers, times how far apart these are kept),
// and how far it is from the first to the second.
function between(point, points, places, apart = 1) {
  const exact = Math.min(Math.max(((point + 0.5) / points) * places - 0.5, 0), places - 1);
  const before = Math.floor(exact);
  return [before * apart, Math.min(before + 1, places - 1) * apart, exact - before];
}
