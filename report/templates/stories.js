// What the head makes of each video, and its pictures: read when somebody asks for them.

const UNKNOWN = 65535;
const NO_STORY = { steps: 0, timed: false, curves: [], flags: [], maps: [], moments: [] };
const known = { stories: new Map(), films: new Map() };

function readJson(id) {
  const holder = document.getElementById(id);
  return holder === null ? null : JSON.parse(holder.textContent);
}

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function unpacked({ low, high, codes }) {
  const bytes = bytesOf(codes);
  const values = new Float64Array(bytes.length / 2);
  for (let place = 0; place < values.length; place += 1) {
    const code = bytes[2 * place] + 256 * bytes[2 * place + 1];
    values[place] = code === UNKNOWN ? NaN : low + ((high - low) * code) / (UNKNOWN - 1);
  }
  return values;
}

function remembered(kept, place, make) {
  if (!kept.has(place)) kept.set(place, make());
  return kept.get(place);
}

function storyOf(place) {
  return remembered(known.stories, place, () => {
    const raw = readJson(`story-${place}`);
    return raw === null ? NO_STORY : told(raw);
  });
}

function told(raw) {
  const [start, centre, end] = [raw.times.start, raw.times.centre, raw.times.end].map(unpacked);
  return {
    ...raw,
    start,
    centre,
    end,
    timed: [start, centre, end].every((own) => own.every(Number.isFinite)),
    curves: raw.curves.map(curveOf),
    flags: raw.flags.map((flag) => ({ ...flag, steps: new Set(flag.steps) })),
    maps: raw.maps.map((map) => ({ ...map, codes: bytesOf(map.codes) })),
  };
}

function curveOf(raw) {
  const values = unpacked(raw.values);
  const sure = values.filter(Number.isFinite);
  const sum = sure.reduce((total, value) => total + value, 0);
  return { ...raw, values, low: raw.values.low, high: raw.values.high, mean: sum / (sure.length || 1) };
}

function filmOf(place, entry) {
  return remembered(known.films, place, () => {
    const raw = entry.media ? readJson(`media-${place}`) : null;
    const stills = (raw?.stills ?? []).map((still) => still && `data:image/jpeg;base64,${still}`);
    if (!raw?.copy) return { url: entry.link || null, stills };
    return { url: URL.createObjectURL(new Blob([bytesOf(raw.copy)], { type: raw.type })), stills };
  });
}

// Where a moment lies on a time line.
function placeOf(story, moment) {
  return story.timed ? moment.centre : moment.step + 0.5;
}

// Which step a time belongs to: the one whose middle is nearest, and of several the one in hand.
function stepAt(story, seconds, inHand) {
  let nearest = inHand;
  for (let step = 0; step < story.steps; step += 1) {
    const closer = Math.abs(story.centre[step] - seconds) - Math.abs(story.centre[nearest] - seconds);
    if (closer < -1e-3) nearest = step;
  }
  return nearest;
}
