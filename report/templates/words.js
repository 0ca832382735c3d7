// Numbers in words, as the tables of this page and of the terminal write them.

function clock(seconds, tenths = false) {
  const whole = Math.max(0, tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = whole - hours * 3600 - minutes * 60;
  const ending = (tenths ? rest.toFixed(1) : String(rest)).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${ending}` : `${minutes}:${ending}`;
}

function number(value) {
  if (Number.isNaN(value)) return "unknown";
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(1);
  return size < 0.001 && size > 0 ? value.toPrecision(3) : value.toFixed(3);
}

function stretch(story, step) {
  const [start, end] = [story.start[step], story.end[step]].map((at) => clock(at, true));
  return start === end ? start : `${start} to ${end}`;
}

// What a curve says at a step.
function reading(curve, step) {
  const value = curve.values[step];
  if (Number.isNaN(value)) return "unknown";
  const weighs = curve.kind === "attention" && curve.mean > 0;
  if (weighs) return `${(value / curve.mean).toFixed(1)} × its average`;
  if (curve.kind !== "running" || step === 0) return number(value);
  const change = value - curve.values[step - 1];
  if (Number.isNaN(change)) return number(value);
  return `${number(value)} (${change < 0 ? "" : "+"}${number(change)} by this step)`;
}

// All that is known of a step: where it is, and pairs of a term and what it says.
function wordsOf(story, step, curves) {
  const place = `step ${step + 1} of ${story.steps}`;
  const marks = story.flags.filter((flag) => flag.steps.has(step)).map((flag) => ["marked", flag.name]);
  return {
    place: story.timed ? `${stretch(story, step)}, ${place}` : place,
    said: [...curves.map((curve) => [curve.label, reading(curve, step)]), ...marks],
  };
}

// When a moment is; of a video without times, at which step.
function when(story, moment) {
  return story.timed && moment.centre !== null ? clock(moment.centre, true) : `step ${moment.step + 1}`;
}
