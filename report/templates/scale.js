// Where a time, or the number of a step where times are unknown, lies across a time line.

const SIDE = 10;
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

function makeScale(story) {
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  const [first, last] = story.timed ? [least(story.start), most(story.end)] : [0, story.steps];
  const scale = { width: 0, first, last: last > first ? last : first + 1 };
  const right = () => scale.width - SIDE;
  const x = (place) => SIDE + ((place - scale.first) / (scale.last - scale.first)) * (right() - SIDE);
  const kept = (place) => Math.min(Math.max(place, scale.first), scale.last);
  const middle = (step) => (story.timed ? story.centre[step] : step + 0.5);

  // The video may begin before the first step, and end after the last one.
  function extend(from, to) {
    scale.first = Math.min(scale.first, from);
    scale.last = Math.max(scale.last, to);
  }

  // (T + 1) places between the steps: half way between their middles.
  function edges() {
    const halfway = (_, step) => (middle(step) + middle(step + 1)) / 2;
    const inner = Array.from({ length: story.steps - 1 }, halfway);
    const ends = story.timed ? [story.start[0], story.end.at(-1)] : [0, story.steps];
    return [ends[0], ...inner, ends[1]].map(x);
  }

  function ticks() {
    const span = scale.last - scale.first;
    const most = Math.max(2, Math.floor(scale.width / 64));
    const apart = TICKS.find((tick) => span / tick <= most) ?? Math.ceil(span / most / 3600) * 3600;
    const begin = Math.ceil(scale.first / apart);
    const count = Math.floor(scale.last / apart) - begin + 1;
    return Array.from({ length: count }, (_, tick) => (begin + tick) * apart);
  }

  // The place below a pointer, of a drawing as wide on the screen as its box.
  function under(clientX, box) {
    const across = (clientX - box.left) * (scale.width / box.width);
    return kept(scale.first + ((across - SIDE) / (right() - SIDE)) * (scale.last - scale.first));
  }

  return Object.assign(scale, { right, x, kept, middle, extend, edges, ticks, under });
}
