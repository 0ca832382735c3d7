// The drawing of a time line: lanes below numbered moments, over an axis.

const MARKS = 30;

// Draw all anew; the result says where what moves (cursor and pointer) begins and ends.
function paintLine(drawing, story, scale, curves, moving) {
  const begin = story.moments.length ? MARKS : 4;
  const edges = scale.edges();
  const marks = [];
  let top = begin;
  for (const lane of lanesOf(curves)) {
    marks.push(...laneLabels(lane, top, scale), drawLane(lane, top + LANE.label, edges));
    top += heightOf(lane) + LANE.gap;
  }
  for (const flag of story.flags.filter((one) => one.steps.size)) {
    marks.push(label(`marked: ${flag.name}`, "", top, scale), drawFlag(flag, top + LANE.label, edges));
    top += LANE.label + LANE.flag + LANE.gap;
  }
  const height = top + 24;
  drawing.setAttribute("viewBox", `0 0 ${scale.width} ${height}`);
  drawing.setAttribute("height", height);
  const [bands, signs] = [bandsOf(story, scale, begin - 4, top), signsOf(story, scale)];
  drawing.replaceChildren(...bands, ...marks, axis(story, scale, top), ...moving, ...signs);
  return { begin: begin - 4, end: top };
}

// What goes downwards is named below its lane.
function laneLabels(lane, top, scale) {
  if (lane.line) {
    const { label: words, low, high } = lane.line;
    return [label(words, `${number(low)} to ${number(high)}`, top, scale)];
  }
  const [up, down] = [lane.up && `▲ ${lane.up.label}`, lane.down && `▼ ${lane.down.label}`];
  const below = top + LANE.label + LANE[lane.kind];
  return [up && label(up, "", top, scale), down && label(down, "", below - 2, scale)].filter(Boolean);
}

function heightOf(lane) {
  return LANE.label + LANE[lane.kind] + (lane.down ? LANE.label : 0);
}

function label(words, ends, top, scale) {
  const room = Math.floor((scale.right() - SIDE) / 6.6) - ends.length;
  const text = words.length > room ? `${words.slice(0, room - 1)}…` : words;
  const right = draw("text", { class: "tick", x: scale.right(), y: top + 14, "text-anchor": "end" }, ends);
  return draw("g", {}, draw("text", { x: SIDE + 5, y: top + 14 }, text), right);
}

function bandsOf(story, scale, begin, end) {
  return story.moments.map((moment) => {
    const ends = story.timed ? [moment.start, moment.end] : [moment.step, moment.step + 1];
    const [from, to] = ends.map((place) => scale.x(scale.kept(place)));
    const width = at(Math.max(to - from, 3));
    return draw("rect", { class: `band ${moment.tells}`, x: at(from), y: begin, width, height: end - begin });
  });
}

function signsOf(story, scale) {
  return story.moments.map((moment, order) => {
    const place = scale.x(scale.kept(placeOf(story, moment)));
    return sign(moment.tells, order + 1, { transform: `translate(${at(place)} 14)`, "data-moment": order });
  });
}

// A numbered sign of a moment, whose shape tells what its colour does.
function sign(tells, order, attributes = {}) {
  const shapes = {
    good: draw("circle", { r: 11 }),
    bad: draw("rect", { x: -10, y: -10, width: 20, height: 20, rx: 2 }),
    notable: draw("path", { d: "M0-13 13 0 0 13-13 0Z" }),
  };
  const text = draw("text", { y: 4.5, "text-anchor": "middle" }, String(order));
  return draw("g", { class: `marker ${tells}`, ...attributes }, shapes[tells], text);
}

function axis(story, scale, top) {
  const marks = scale.ticks().flatMap((tick) => {
    const x = at(scale.x(tick));
    const anchor = x < 24 ? "start" : x > scale.width - 24 ? "end" : "middle";
    const words = story.timed ? clock(tick) : String(tick);
    return [
      draw("path", { class: "axis", d: `M${x} ${top}v5` }),
      draw("text", { class: "tick", x, y: top + 20, "text-anchor": anchor }, words),
    ];
  });
  return draw("g", {}, draw("path", { class: "axis", d: `M${SIDE} ${top}H${scale.right()}` }), ...marks);
}
